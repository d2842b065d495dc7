//! MIGRATE: keys on their way to another server. The engine hands out copies, frozen where they are large, and the runtime
//! delivers them.

use super::client::ClientId;
use crate::base::clock::UnixMillis;
use crate::storage::Value;

#[derive(Debug)]
pub struct Migration {
    /// Who waits for the outcome.
    pub client: ClientId,
    pub db_index: usize,
    pub host: String,
    pub port: i64,
    pub target_db: i64,
    /// For each step: connecting, writing a piece, reading a reply.
    pub timeout_ms: u64,
    /// Arguments of AUTH; empty without it.
    pub auth: Vec<Vec<u8>>,
    /// The keys stay here too.
    pub copies: bool,
    /// What the target has under the same names is replaced.
    pub replaces: bool,
    pub keys: Vec<MigratingKey>,
}

#[derive(Debug, Clone)]
pub struct MigratingKey {
    pub key: Vec<u8>,
    /// As it was when it was handed out.
    pub value: Value,
    pub expires_at: Option<UnixMillis>,
}
