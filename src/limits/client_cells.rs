//! One number for each client address, in bounded memory.
//!
//! All addresses are spread over a fixed number of atomic cells: no lock is taken, nothing is allocated or swept. Two
//! addresses may share a cell, with a chance of one in [`CELLS`].

use super::network_of;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::Index;
use std::sync::atomic::AtomicU64;

/// Number of cells: half a MiB.
const CELLS: usize = 1 << 16;

/// The numbers of all client addresses.
#[derive(Debug)]
pub(crate) struct ClientCells {
    cells: Box<[AtomicU64]>,
    /// Keyed at random in each process, so that no client can choose the addresses that share its cell.
    hasher: RandomState,
}

impl ClientCells {
    /// Returns the index of a client's cell. The addresses of one IPv6 /64 are one client, since one owner has them all,
    /// and so are the clients without an address.
    pub(crate) fn index_of(&self, client: Option<IpAddr>) -> usize {
        self.hasher.hash_one(client.map(network_of)) as usize % CELLS
    }

    /// Returns every cell.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AtomicU64> {
        self.cells.iter()
    }
}

impl Default for ClientCells {
    fn default() -> Self {
        Self { cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }
}

impl Index<usize> for ClientCells {
    type Output = AtomicU64;

    fn index(&self, index: usize) -> &AtomicU64 {
        &self.cells[index]
    }
}
