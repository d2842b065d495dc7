//! WAIT: clients that wait until enough replicas have acknowledged their writes, or until their time is up.

use super::log::ReplOffset;
use crate::base::clock::UnixMillis;

/// One parked WAIT. `client` is the id of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    pub client: u64,
    /// The end of the client's own last write.
    pub target: ReplOffset,
    pub needed: usize,
    /// None waits for ever.
    pub deadline: Option<UnixMillis>,
}

/// A client to be answered, with the number of replicas that had acknowledged by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    pub client: u64,
    pub acked: usize,
}

/// All parked WAITs, in the order in which they came.
#[derive(Debug, Default)]
pub struct Waiters {
    parked: Vec<Waiter>,
}

impl Waiters {
    /// The caller has found that not enough replicas have acknowledged yet.
    pub fn park(&mut self, waiter: Waiter) {
        self.parked.push(waiter);
    }

    /// The client left or was unblocked. Whether it had been waiting.
    pub fn cancel(&mut self, client: u64) -> bool {
        let before = self.parked.len();
        self.parked.retain(|waiter| waiter.client != client);
        self.parked.len() < before
    }

    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// When time next releases somebody.
    pub fn next_deadline(&self) -> Option<UnixMillis> {
        self.parked.iter().filter_map(|waiter| waiter.deadline).min()
    }

    /// Takes out those who have enough acknowledgements, and those whose deadline is not after `now`.
    /// `count_acked` says how many replicas are at an offset or beyond.
    pub fn release(&mut self, now: UnixMillis, count_acked: impl Fn(ReplOffset) -> usize) -> Vec<Released> {
        let mut released = Vec::new();
        self.parked.retain(|waiter| {
            let acked = count_acked(waiter.target);
            let is_done = acked >= waiter.needed || waiter.deadline.is_some_and(|at| at <= now);
            if is_done {
                released.push(Released { client: waiter.client, acked });
            }
            !is_done
        });
        released
    }

    /// Takes out everyone: the server becomes a replica, whose WAIT is an error.
    pub fn drain(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.parked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(client: u64, target: u64, needed: usize, deadline: Option<i64>) -> Waiter {
        Waiter { client, target: ReplOffset(target), needed, deadline: deadline.map(UnixMillis) }
    }

    #[test]
    fn acknowledgements_release_in_order_of_arrival() {
        let mut waiters = Waiters::default();
        waiters.park(waiter(1, 10, 1, None));
        waiters.park(waiter(2, 20, 1, None));
        waiters.park(waiter(3, 5, 2, None));
        let at =
            |offsets: [u64; 2]| move |target: ReplOffset| offsets.iter().filter(|&&o| o >= target.0).count();
        assert_eq!(waiters.release(UnixMillis(0), at([12, 0])), [Released { client: 1, acked: 1 }]);
        assert_eq!(
            waiters.release(UnixMillis(0), at([20, 20])),
            [Released { client: 2, acked: 2 }, Released { client: 3, acked: 2 }]
        );
        assert!(waiters.is_empty());
    }

    #[test]
    fn the_deadline_releases_with_the_count_so_far() {
        let mut waiters = Waiters::default();
        waiters.park(waiter(1, 10, 3, Some(500)));
        waiters.park(waiter(2, 10, 3, None));
        assert_eq!(waiters.next_deadline(), Some(UnixMillis(500)));
        assert_eq!(waiters.release(UnixMillis(499), |_| 1), []);
        assert_eq!(waiters.release(UnixMillis(500), |_| 1), [Released { client: 1, acked: 1 }]);
        assert_eq!(waiters.next_deadline(), None);
    }

    #[test]
    fn a_client_that_left_is_forgotten() {
        let mut waiters = Waiters::default();
        waiters.park(waiter(1, 10, 1, None));
        assert!(waiters.cancel(1) && !waiters.cancel(1));
        assert_eq!(waiters.release(UnixMillis(0), |_| 9), []);
    }
}
