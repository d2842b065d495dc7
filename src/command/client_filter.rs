//! Which clients CLIENT LIST shows and CLIENT KILL closes.

use super::options::integer;
use crate::base::clock::UnixMillis;
use crate::engine::ClientId;
use crate::engine::client::{Client, ClientKind};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

/// Classes of clients as TYPE names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Normal,
    Master,
    Replica,
    Pubsub,
}

impl Class {
    fn parse(word: &[u8]) -> Result<Self, ErrorReply> {
        Ok(match word.to_ascii_lowercase().as_slice() {
            b"normal" => Self::Normal,
            b"master" => Self::Master,
            b"replica" | b"slave" => Self::Replica,
            b"pubsub" => Self::Pubsub,
            _ => {
                let word = String::from_utf8_lossy(word);
                return Err(ErrorReply::new(format!("ERR Unknown client type '{word}'")));
            }
        })
    }

    fn of(client: &Client) -> Self {
        match client.kind {
            ClientKind::Master => Self::Master,
            ClientKind::Replica => Self::Replica,
            ClientKind::Normal if client.subscriptions_len() > 0 => Self::Pubsub,
            ClientKind::Normal => Self::Normal,
        }
    }
}

/// All that is given must hold.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub ids: Option<Vec<ClientId>>,
    class: Option<Class>,
    addr: Option<Vec<u8>>,
    local_addr: Option<Vec<u8>>,
    max_age_seconds: Option<i64>,
    except: Option<ClientId>,
}

impl Filter {
    pub fn by_addr(addr: &[u8]) -> Self {
        Self { addr: Some(addr.to_vec()), ..Self::default() }
    }

    /// `CLIENT LIST [TYPE type] [ID client-id [client-id ...]]`
    pub fn parse_list(args: &Args<'_>) -> Result<Self, ErrorReply> {
        let mut filter = Self::default();
        if args.is(2, "TYPE") && args.len() == 4 {
            filter.class = Some(Class::parse(args.bytes(3))?);
        } else if args.is(2, "ID") && args.len() > 3 {
            let parse = |arg| integer(arg).map_err(|_| ErrorReply::fixed("ERR Invalid client ID"));
            let ids: Result<Vec<i64>, _> = args.from(3).iter().map(parse).collect();
            filter.ids = Some(ids?.into_iter().map(|id| ClientId(id as u64)).collect());
        } else if args.len() != 2 {
            return Err(ErrorReply::SYNTAX);
        }
        Ok(filter)
    }

    /// `CLIENT KILL option value [option value ...]`, asked by client `caller`.
    pub fn parse_kill(args: &Args<'_>, caller: ClientId) -> Result<Self, ErrorReply> {
        let mut filter = Self { except: Some(caller), ..Self::default() };
        for i in (2..args.len()).step_by(2) {
            let Some(value) = args.get(i + 1) else { return Err(ErrorReply::SYNTAX) };
            if args.is(i, "ID") {
                let id = integer(value).ok().filter(|&id| id > 0);
                let id = id.ok_or(ErrorReply::fixed("ERR client-id should be greater than 0"))?;
                filter.ids = Some(vec![ClientId(id as u64)]);
            } else if args.is(i, "TYPE") {
                filter.class = Some(Class::parse(value)?);
            } else if args.is(i, "ADDR") {
                filter.addr = Some(value.to_vec());
            } else if args.is(i, "LADDR") {
                filter.local_addr = Some(value.to_vec());
            } else if args.is(i, "USER") {
                // Everybody is the default user.
                if value != b"default" {
                    let user = String::from_utf8_lossy(value);
                    return Err(ErrorReply::new(format!("ERR No such user '{user}'")));
                }
            } else if args.is(i, "MAXAGE") {
                let age = integer(value)
                    .map_err(|_| ErrorReply::fixed("ERR maxage is not an integer or out of range"))?;
                if age <= 0 {
                    return Err(ErrorReply::fixed("ERR maxage should be greater than 0"));
                }
                filter.max_age_seconds = Some(age);
            } else if args.is(i, "SKIPME") && args.is(i + 1, "YES") {
                filter.except = Some(caller);
            } else if args.is(i, "SKIPME") && args.is(i + 1, "NO") {
                filter.except = None;
            } else {
                return Err(ErrorReply::SYNTAX);
            }
        }
        Ok(filter)
    }

    pub fn accepts(&self, client: &Client, now: UnixMillis) -> bool {
        let age_seconds = (now.0 - client.created_at.0) / 1000;
        self.ids.as_ref().is_none_or(|ids| ids.contains(&client.id))
            && self.class.is_none_or(|class| class == Class::of(client))
            && self.addr.as_ref().is_none_or(|addr| addr == client.addr.as_bytes())
            && self.local_addr.as_ref().is_none_or(|addr| addr == client.local_addr.as_bytes())
            && self.max_age_seconds.is_none_or(|age| age_seconds >= age)
            && self.except != Some(client.id)
    }
}
