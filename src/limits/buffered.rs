//! Memory of request bodies that are read ahead: that of the whole process, and a share of it for each client address.
//!
//! Allocated bytes count, not received ones. A client address may hold a third of what is free after its own
//! allocation: alone a quarter of the limit, and less the more is in use. So each further address that fills its share
//! leaves room for the next one, and bodies of many addresses can use the limit up.
//!
//! Two addresses may share a cell of [`ClientCells`]; the cost is that one of them is refused earlier.

use super::client_cells::ClientCells;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// An address holds at most what is free, divided by this.
const FREE_PER_SHARE: u64 = 3;

/// The memory that bodies occupy. One value for the process: it outlives reloads, the limit does not.
#[derive(Debug, Default)]
pub struct BodyMemory {
    total: AtomicU64,
    shares: ClientCells,
}

/// The reason why a body gets no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The bodies of all clients use the limit up.
    #[error("bodies that are read ahead use `limits.buffered` up")]
    Process,
    /// The bodies of this client's address use its share up.
    #[error("bodies of one client address use its share of `limits.buffered` up")]
    Share,
}

impl BodyMemory {
    /// Returns the number of bytes that bodies occupy.
    pub fn in_use(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Returns a permit for one body of `client`, with nothing allocated yet. Clients without an address (on a unix socket
    /// that is not in `trusted_proxies`) are one client.
    pub fn permit(self: &Arc<Self>, limit: u64, client: Option<IpAddr>) -> BufferPermit {
        BufferPermit { memory: Arc::clone(self), cell: self.shares.index_of(client), limit, bytes: 0 }
    }

    fn take(&self, cell: usize, limit: u64, bytes: u64) -> Result<(), NoRoom> {
        let within = |total: u64| total.checked_add(bytes).filter(|total| *total <= limit);
        let before = self.total.fetch_update(Relaxed, Relaxed, within).map_err(|_| NoRoom::Process)?;
        let share = (limit - before - bytes) / FREE_PER_SHARE;
        let within = |held: u64| held.checked_add(bytes).filter(|held| *held <= share);
        match self.shares[cell].fetch_update(Relaxed, Relaxed, within) {
            Ok(_) => Ok(()),
            Err(_) => {
                self.total.fetch_sub(bytes, Relaxed);
                Err(NoRoom::Share)
            }
        }
    }
}

/// The memory of one body, counted until it is dropped.
#[derive(Debug)]
pub struct BufferPermit {
    memory: Arc<BodyMemory>,
    cell: usize,
    limit: u64,
    bytes: u64,
}

impl BufferPermit {
    /// Counts an allocation of `bytes` altogether, before it is made.
    ///
    /// # Errors
    ///
    /// The limit that it exceeds. Nothing is counted then.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let more = (bytes as u64).saturating_sub(self.bytes);
        self.memory.take(self.cell, self.limit, more)?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for BufferPermit {
    fn drop(&mut self) {
        self.memory.shares[self.cell].fetch_sub(self.bytes, Relaxed);
        self.memory.total.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const LIMIT: u64 = 256 << 20;

    /// Fills the share of `client` with bodies of `size`. Returns them, and the limit that ended it.
    fn fill(memory: &Arc<BodyMemory>, client: &str, size: usize) -> (Vec<BufferPermit>, NoRoom) {
        let mut held = Vec::new();
        loop {
            let mut permit = memory.permit(LIMIT, client.parse().ok());
            match permit.grow_to(size) {
                Ok(()) => held.push(permit),
                Err(full) => return (held, full),
            }
        }
    }

    #[test]
    fn one_address_holds_a_quarter() {
        let memory = Arc::new(BodyMemory::default());
        let (held, full) = fill(&memory, "192.0.2.1", MIB);
        assert_eq!((held.len(), full), (64, NoRoom::Share));
        assert_eq!(memory.in_use(), 64 << 20, "a refused body counts for nothing");
        drop(held);
        assert_eq!(memory.in_use(), 0);
        assert_eq!(fill(&memory, "192.0.2.1", MIB).0.len(), 64);
    }

    #[test]
    fn addresses_that_fill_their_shares_leave_room_for_the_next() {
        let memory = Arc::new(BodyMemory::default());
        let attackers = (0..16).map(|n| fill(&memory, &format!("192.0.2.{n}"), 64 << 10).0);
        let attackers: Vec<Vec<BufferPermit>> = attackers.collect();
        assert_eq!((attackers[0].len(), attackers[1].len()), (1024, 768));
        let mut genuine = memory.permit(LIMIT, "203.0.113.1".parse().ok());
        assert_eq!(genuine.grow_to(MIB / 2), Ok(()));
    }

    #[test]
    fn many_addresses_use_the_limit_up() {
        let memory = Arc::new(BodyMemory::default());
        let mut held = Vec::new();
        for n in 0..300_u32 {
            let mut permit = memory.permit(LIMIT, Some(std::net::Ipv4Addr::from(n).into()));
            if permit.grow_to(MIB).is_ok() {
                held.push(permit);
            }
        }
        assert!((250..=256).contains(&held.len()), "{}", held.len());
        let mut permit = memory.permit(LIMIT, "192.0.2.1".parse().ok());
        assert_eq!(permit.grow_to(8 * MIB), Err(NoRoom::Process));
    }

    /// Pairs of addresses, and whether they are one client.
    #[test]
    fn a_client_is_an_address_or_a_network_of_64_bits() {
        for (one, other, is_one) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "::192.0.2.1", false),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("unix", "unknown", true),
            ("unix", "0.0.0.0", false),
            ("unix", "::", false),
        ] {
            let memory = Arc::new(BodyMemory::default());
            let held = fill(&memory, one, MIB).0;
            let mut permit = memory.permit(LIMIT, other.parse().ok());
            assert_eq!(permit.grow_to(MIB).is_err(), is_one, "{one} and {other}");
            drop(held);
        }
    }

    #[test]
    fn a_body_that_grows_counts_what_it_adds() {
        let memory = Arc::new(BodyMemory::default());
        let mut permit = memory.permit(100, None);
        assert_eq!([8, 16, 25].map(|bytes| permit.grow_to(bytes)), [Ok(()); 3]);
        assert_eq!((permit.grow_to(26), memory.in_use()), (Err(NoRoom::Share), 25));
        assert_eq!((permit.grow_to(101), memory.in_use()), (Err(NoRoom::Process), 25));
        assert_eq!(permit.grow_to(10), Ok(()), "smaller than before");
        assert_eq!(permit.grow_to(usize::MAX), Err(NoRoom::Process));
        assert_eq!(memory.in_use(), 25);
    }

    #[test]
    fn a_lower_limit_counts_for_what_comes_next() {
        let memory = Arc::new(BodyMemory::default());
        let mut before = memory.permit(LIMIT, None);
        assert_eq!(before.grow_to(32 * MIB), Ok(()));
        let mut after = memory.permit(MIB as u64, "192.0.2.1".parse().ok());
        assert_eq!(after.grow_to(1), Err(NoRoom::Process));
        drop(before);
        assert_eq!(after.grow_to(MIB / 4), Ok(()));
    }

    #[test]
    fn counts_are_exact_on_several_threads() {
        let memory = Arc::new(BodyMemory::default());
        std::thread::scope(|scope| {
            for n in 0..8_u8 {
                let memory = &memory;
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        let mut permit = memory.permit(1000, Some([192, 0, 2, n % 4].into()));
                        for bytes in [10, 100, 1000] {
                            let _ = permit.grow_to(bytes);
                            assert!(memory.in_use() <= 1000);
                        }
                    }
                });
            }
        });
        assert_eq!(memory.in_use(), 0);
        assert!(memory.shares.iter().all(|share| share.load(Relaxed) == 0));
    }
}
