//! The account against a naive model: whatever happens in whatever order, it knows what
//! a list of all results says, and no number ever goes below nothing.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::atomic::AtomicUsize;

const LIMIT: u64 = 100_000;
/// Owners of shared memory: two large ones and a small one.
const OWNERS: [u64; 3] = [30_000, 50_000, 100];

struct Dummy;

impl Holding for Dummy {
    type Error = ();
    fn spill(&self) -> Result<Spilled, ()> {
        Ok(Spilled::Gone)
    }
}

struct Counts(AtomicUsize);

impl Waits for Counts {
    fn room(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Something that happens; the indices choose among what it can happen to.
#[derive(Debug, Clone)]
enum Event {
    Add(Footprint),
    Ask(u64, Vec<Index>, bool),
    Unpin(Index),
    ComeBack(Index, Footprint),
    NextUse(Index, u64),
    Choose(u64, Vec<Index>),
    Settle(Index, Spilled),
    Remove(Index),
}

fn footprints() -> impl Strategy<Value = Footprint> {
    let own = prop_oneof![Just(0), 1..LEAST, LEAST..60_000];
    let owners = vec(any::<bool>(), OWNERS.len());
    (own, prop::option::weighted(0.4, owners)).prop_map(|(own, owners)| {
        let owners = owners.unwrap_or_default().into_iter().enumerate();
        let shared = owners.filter(|(_, shares)| *shares);
        Footprint {
            own,
            shared: shared.map(|(i, _)| (i as u64, OWNERS[i])).collect(),
        }
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let outcomes = prop_oneof![
        4 => (0..60_000u64).prop_map(Spilled::OnDisk),
        1 => Just(Spilled::Stays),
        1 => Just(Spilled::NotNow),
        1 => Just(Spilled::Gone),
    ];
    let some = || vec(any::<Index>(), 0..4);
    let event = prop_oneof![
        6 => footprints().prop_map(Event::Add),
        6 => (0..60_000u64, some(), any::<bool>()).prop_map(|(b, r, a)| Event::Ask(b, r, a)),
        5 => any::<Index>().prop_map(Event::Unpin),
        4 => (any::<Index>(), footprints()).prop_map(|(i, f)| Event::ComeBack(i, f)),
        4 => (any::<Index>(), 0..9u64).prop_map(|(i, n)| Event::NextUse(i, n)),
        5 => (0..90_000u64, some()).prop_map(|(b, r)| Event::Choose(b, r)),
        6 => (any::<Index>(), outcomes).prop_map(|(i, o)| Event::Settle(i, o)),
        2 => any::<Index>().prop_map(Event::Remove),
    ];
    vec(event, 0..120)
}

/// A result as a list of all of them has it.
struct Known {
    id: EntryId,
    footprint: Footprint,
    place: Place,
    pins: u32,
    next_use: NextUse,
    stays: bool,
    holding: Arc<dyn Holding<Error = ()>>,
}

/// An account beside its model.
struct Both {
    account: Arc<Account<()>>,
    known: Vec<Known>,
    /// What was given, and not given back.
    given: Vec<(u64, Vec<EntryId>)>,
    gone: Vec<EntryId>,
    most: u64,
}

impl Both {
    fn new() -> Self {
        Both {
            account: Account::new(LIMIT, false),
            known: Vec::new(),
            given: Vec::new(),
            gone: Vec::new(),
            most: 0,
        }
    }

    fn in_memory(&self) -> impl Iterator<Item = &Known> {
        let known = self.known.iter();
        known.filter(|known| known.place == Place::Memory)
    }

    /// Who shares the memory of `owner`, of those in memory.
    fn sharers(&self, owner: u64) -> usize {
        let shares = |known: &&Known| known.footprint.shared.iter().any(|(o, _)| *o == owner);
        self.in_memory().filter(shares).count()
    }

    fn resident(&self) -> u64 {
        let own: u64 = self.in_memory().map(|known| known.footprint.own).sum();
        let owners = (0..).zip(OWNERS);
        let shared = owners.filter(|(owner, _)| self.sharers(*owner) > 0);
        own + shared.map(|(_, bytes)| bytes).sum::<u64>()
    }

    fn leaving(&self) -> u64 {
        let leaving = self.known.iter().map(|known| match known.place {
            Place::Leaving(bytes) => bytes,
            _ => 0,
        });
        leaving.sum()
    }

    fn reserved(&self) -> u64 {
        let coming = self.known.iter().map(|known| match known.place {
            Place::Coming(bytes) => bytes,
            _ => 0,
        });
        coming.sum::<u64>() + self.given.iter().map(|(bytes, _)| bytes).sum::<u64>()
    }

    fn of(&mut self, id: EntryId) -> Option<&mut Known> {
        self.known.iter_mut().find(|known| known.id == id)
    }

    /// Different results, by index.
    fn some(&self, picks: &[Index]) -> Vec<EntryId> {
        let mut ids = Vec::new();
        if !self.known.is_empty() {
            ids.extend(picks.iter().map(|pick| pick.get(&self.known).id));
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn one(&self, pick: &Index, which: impl Fn(&Known) -> bool) -> Option<EntryId> {
        let ids = self.known.iter().filter(|known| which(known));
        let ids: Vec<_> = ids.map(|known| known.id).collect();
        (!ids.is_empty()).then(|| *pick.get(&ids))
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Add(footprint) => {
                let holding: Arc<dyn Holding<Error = ()>> = Arc::new(Dummy);
                let id = (self.account).add(footprint.clone(), Arc::downgrade(&holding));
                self.known.push(Known {
                    id,
                    footprint: footprint.clone(),
                    place: Place::Memory,
                    pins: 0,
                    next_use: NextUse::NOW,
                    stays: false,
                    holding,
                });
            }
            Event::Ask(bytes, picks, anyway) => self.ask(*bytes, self.some(picks), *anyway),
            Event::Unpin(_) if self.given.is_empty() => {}
            Event::Unpin(pick) => {
                let (bytes, reads) = self.given.swap_remove(pick.index(self.given.len()));
                self.account.unpin(bytes, &reads);
                for id in reads {
                    let Some(known) = self.of(id) else { continue };
                    known.pins -= 1;
                    if let (0, Place::Coming(bytes)) = (known.pins, known.place) {
                        known.place = Place::Disk(bytes);
                    }
                }
            }
            Event::ComeBack(pick, footprint) => {
                let comes = |known: &Known| matches!(known.place, Place::Coming(_));
                if let Some(id) = self.one(pick, comes) {
                    self.account.came_back(id, footprint.clone());
                    let known = self.of(id).unwrap();
                    known.place = Place::Memory;
                    known.footprint = footprint.clone();
                }
            }
            Event::NextUse(pick, next) => {
                if let Some(id) = self.one(pick, |_| true) {
                    self.account.set_next_uses([(id, NextUse(*next))]);
                    self.of(id).unwrap().next_use = NextUse(*next);
                }
            }
            Event::Choose(bytes, picks) => self.choose(*bytes, &self.some(picks)),
            Event::Settle(pick, outcome) => self.settle(pick, *outcome),
            Event::Remove(pick) => {
                if let Some(id) = self.one(pick, |_| true) {
                    self.account.remove(id);
                    self.known.retain(|known| known.id != id);
                    self.gone.push(id);
                }
            }
        }
        self.check();
    }

    fn ask(&mut self, bytes: u64, reads: Vec<EntryId>, anyway: bool) {
        let places: Vec<_> = (reads.iter())
            .map(|id| self.of(*id).unwrap().place)
            .collect();
        let from_disk = places.iter().map(|place| match place {
            Place::Disk(bytes) => *bytes,
            _ => 0,
        });
        let wanted = bytes + from_disk.sum::<u64>();
        let taken = self.resident() + self.leaving() + self.reserved();
        let missing = (taken + wanted).saturating_sub(LIMIT);
        let expected = if places
            .iter()
            .any(|place| matches!(place, Place::Leaving(_)))
        {
            Room::Busy
        } else if missing > 0 && wanted > 0 && !anyway {
            Room::Missing(missing)
        } else {
            Room::Given
        };
        assert_eq!(self.account.ask(bytes, &reads, anyway), expected);
        if expected == Room::Given {
            for id in &reads {
                let known = self.of(*id).unwrap();
                known.pins += 1;
                if let Place::Disk(bytes) = known.place {
                    known.place = Place::Coming(bytes);
                }
            }
            self.given.push((bytes, reads));
        }
    }

    fn choose(&mut self, bytes: u64, spared: &[EntryId]) {
        let mut may_leave: Vec<_> = (self.in_memory())
            .filter(|known| known.pins == 0 && !known.stays && !spared.contains(&known.id))
            .filter(|known| known.next_use != NextUse::NOW)
            .filter(|known| known.footprint.total() >= LEAST)
            .map(|known| (known.next_use, known.id))
            .collect();
        may_leave.sort_unstable();
        let mut wanted = bytes.saturating_sub(self.leaving());
        let mut expected = Vec::new();
        while wanted > 0
            && let Some((_, id)) = may_leave.pop()
        {
            let before = self.resident();
            self.of(id).unwrap().place = Place::Leaving(0);
            let freed = before - self.resident();
            self.of(id).unwrap().place = Place::Leaving(freed);
            wanted = wanted.saturating_sub(freed);
            expected.push(id);
        }
        let chosen = self.account.choose(bytes, spared);
        let ids: Vec<_> = chosen.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, expected);
        for (id, holding) in chosen {
            assert!(Arc::ptr_eq(&holding, &self.of(id).unwrap().holding));
        }
    }

    fn settle(&mut self, pick: &Index, outcome: Spilled) {
        let waits: Arc<Counts> = Arc::new(Counts(AtomicUsize::new(0)));
        let weak: Weak<Counts> = Arc::downgrade(&waits);
        self.account.wait(weak.clone());
        self.account.wait(weak);
        let leaving = |known: &Known| matches!(known.place, Place::Leaving(_));
        let Some(id) = self.one(pick, leaving) else {
            // What is not being written is not touched.
            if let Some(id) = self.one(pick, |_| true) {
                self.account.settle(id, outcome);
                assert_eq!(waits.0.load(Ordering::Relaxed), 0);
            }
            return;
        };
        self.account.settle(id, outcome);
        assert_eq!(waits.0.load(Ordering::Relaxed), 1, "told once");
        let known = self.of(id).unwrap();
        known.place = match outcome {
            Spilled::OnDisk(bytes) => Place::Disk(bytes),
            Spilled::Gone => Place::Disk(0),
            Spilled::Stays | Spilled::NotNow => Place::Memory,
        };
        known.stays |= outcome == Spilled::Stays;
    }

    fn check(&mut self) {
        let taken = self.resident() + self.leaving();
        self.most = self.most.max(taken);
        let expected = Totals {
            resident: taken,
            reserved: self.reserved(),
            most: self.most,
        };
        assert_eq!(self.account.totals(), expected);
        assert_eq!(self.account.len(), self.known.len());
        for known in &self.known {
            let alone = known.footprint.shared.iter();
            let alone = alone.filter(|(owner, _)| self.sharers(*owner) == 1);
            let alone = known.footprint.own + alone.map(|(_, bytes)| bytes).sum::<u64>();
            let mut expected = Weight::default();
            match known.place {
                Place::Memory => {
                    expected.released = alone;
                    expected.share = alone;
                }
                Place::Disk(bytes) => expected.on_disk = bytes,
                Place::Coming(_) | Place::Leaving(_) => {}
            }
            assert_eq!(self.account.weigh([(known.id, 1)].into_iter()), expected);
            expected.released = 0;
            expected.share /= 3;
            assert_eq!(self.account.weigh([(known.id, 3)].into_iter()), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_knows_what_a_list_of_all_results_says(events in events()) {
        let mut both = Both::new();
        for event in &events {
            both.happen(event);
        }
        // Numbers of results that were removed mean nothing, even if their place is taken.
        for id in std::mem::take(&mut both.gone) {
            both.account.remove(id);
            both.account.settle(id, Spilled::Stays);
            both.account.came_back(id, Footprint::own(1));
            both.account.set_next_uses([(id, NextUse::NONE)]);
            both.check();
        }
        // In whatever order the rest ends, nothing is left.
        for (bytes, reads) in std::mem::take(&mut both.given) {
            both.account.unpin(bytes, &reads);
        }
        for known in std::mem::take(&mut both.known) {
            both.account.remove(known.id);
        }
        let totals = both.account.totals();
        prop_assert_eq!((totals.resident, totals.reserved), (0, 0));
        prop_assert!(both.account.is_empty());
        let inner = both.account.lock();
        prop_assert!(inner.candidates.is_empty() && inner.owners.is_empty());
    }
}

fn holding() -> Arc<dyn Holding<Error = ()>> {
    Arc::new(Dummy)
}

/// Two tasks of a run may have one result: a task that reads both reads it once.
#[test]
fn a_result_that_is_read_twice_comes_back_once() {
    let account = Account::new(LIMIT, false);
    let held = holding();
    let id = account.add(Footprint::own(10_000), Arc::downgrade(&held));
    account.set_next_uses([(id, NextUse::NONE)]);
    assert_eq!(account.choose(1, &[]).len(), 1);
    account.settle(id, Spilled::OnDisk(10_000));
    assert_eq!(account.ask(0, &[id, id], false), Room::Given);
    assert_eq!(account.totals().reserved, 10_000);
    account.came_back(id, Footprint::own(10_000));
    account.unpin(0, &[id, id]);
    assert_eq!(account.totals().reserved, 0);
}

#[test]
fn who_waits_is_told_once_when_a_result_goes() {
    let account = Account::new(LIMIT, false);
    let held = holding();
    let first = account.add(Footprint::own(10), Arc::downgrade(&held));
    let second = account.add(Footprint::own(10), Arc::downgrade(&held));
    let waits = Arc::new(Counts(AtomicUsize::new(0)));
    let weak: Weak<Counts> = Arc::downgrade(&waits);
    account.wait(weak);
    for id in [first, first, second] {
        account.remove(id);
        assert_eq!(waits.0.load(Ordering::Relaxed), 1);
    }
}
