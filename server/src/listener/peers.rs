//! Who is connected and what each makes the service hold: places in total and for each address, and bytes of messages.
//! It leaves what becomes of a connection to `listener`, and when bytes are held to the stack.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::config::Connections;

/// All peers together.
#[derive(Clone, Debug)]
pub(crate) struct Peers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: usize,
    places_of_one: usize,
    memory: usize,
    held: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: usize,
    peers: HashMap<IpAddr, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    open: usize,
    held: Arc<AtomicUsize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The service has as many connections as it takes.
    All,
    /// The peer has as many as one may.
    Peer,
}

/// A connection's place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    peers: Peers,
    of: IpAddr,
    account: Account,
}

/// What the calls of one peer hold, among what all hold.
#[derive(Clone, Debug)]
pub struct Account {
    peers: Peers,
    held: Arc<AtomicUsize>,
}

/// What one message holds, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    account: Account,
    bytes: AtomicUsize,
}

impl Peers {
    pub(crate) fn new(limits: &Connections) -> Self {
        let memory = limits.message_memory.get();
        Self::of(limits.connections.get(), limits.connections_per_peer.get(), memory)
    }

    /// So many places, so many of them for one peer, and so many bytes.
    pub(crate) fn of(places: usize, places_of_one: usize, memory: usize) -> Self {
        let (held, table) = (AtomicUsize::new(0), Mutex::default());
        Self(Arc::new(Shared { places, places_of_one, memory, held, table }))
    }

    /// A place for a connection from this address.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Place, Full> {
        let of = neighbourhood(address);
        let mut table = self.table();
        if table.open >= self.0.places {
            return Err(Full::All);
        }
        let peer = table.peers.entry(of).or_default();
        if peer.open >= self.0.places_of_one {
            return Err(Full::Peer);
        }
        peer.open += 1;
        let account = Account { peers: self.clone(), held: Arc::clone(&peer.held) };
        table.open += 1;
        Ok(Place { peers: self.clone(), of, account })
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(crate) fn account(&self) -> Account {
        self.account.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.peers.table();
        table.open -= 1;
        if let Some(peer) = table.peers.get_mut(&self.of) {
            peer.open -= 1;
            if peer.open == 0 {
                table.peers.remove(&self.of);
            }
        }
    }
}

impl Account {
    pub(crate) fn hold(&self) -> Hold {
        Hold { account: self.clone(), bytes: AtomicUsize::new(0) }
    }
}

impl Hold {
    /// Takes so many bytes more, unless that is more than all may hold, or one peer half of it.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let memory = self.account.peers.0.memory;
        if !add(&self.account.held, bytes, memory / 2) {
            return false;
        }
        if !add(&self.account.peers.0.held, bytes, memory) {
            self.account.held.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// Gives everything back.
    pub(crate) fn clear(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        self.account.held.fetch_sub(bytes, Ordering::Relaxed);
        self.account.peers.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.clear();
    }
}

fn add(count: &AtomicUsize, more: usize, most: usize) -> bool {
    let sum = |held: usize| held.checked_add(more).filter(|sum| *sum <= most);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
}

/// Whom an address stands for: itself, or in IPv6 the network of 64 bits that one host can have all of.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_its_share_of_the_places_and_all_have_all_of_them() {
        let peers = Peers::of(3, 2, 0);
        let (one, other, third) = ("10.0.0.1", "10.0.0.2", "10.0.0.3");
        let admit = |address: &str| peers.admit(address.parse().unwrap());
        let first = admit(one).unwrap();
        let second = admit(one).unwrap();
        assert_eq!(admit(one).err(), Some(Full::Peer));
        let _other = admit(other).unwrap();
        assert_eq!(admit(third).err(), Some(Full::All));
        drop(first);
        let _third = admit(third).unwrap();
        drop(second);
        assert_eq!(peers.table().peers.len(), 2, "a peer without a connection is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer_and_a_mapped_address_is_the_one_it_maps() {
        let of = |address: &str| neighbourhood(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }

    #[test]
    fn what_is_held_is_given_back_and_one_peer_gets_half_of_the_memory() {
        let peers = Peers::of(9, 9, 100);
        let places = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|address| peers.admit(address.parse().unwrap()).unwrap());
        let [one, other, third] = places.each_ref().map(|place| place.account().hold());
        assert!(one.take(30) && one.take(20) && !one.take(1));
        assert!(other.take(50) && !third.take(1));
        one.clear();
        assert!(third.take(50) && !one.take(1));
        drop(other);
        assert!(one.take(50));
    }
}
