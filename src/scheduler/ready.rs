//! The tasks that may start, lowest rank first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A queue of ranks.
///
/// Most runs begin with many ready tasks and add few at a time. The first ones
/// stay in a sorted list, where taking the lowest costs nothing; only later
/// ones go through a heap, which therefore stays small.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue {
    /// Ready from the start, highest rank first: the next one is at the end.
    first: Vec<u32>,
    later: BinaryHeap<Reverse<u32>>,
}

impl ReadyQueue {
    /// A queue of the tasks ready from the start; `ranks` is descending.
    pub(super) fn new(ranks: Vec<u32>) -> Self {
        debug_assert!(ranks.is_sorted_by(|a, b| a > b));
        ReadyQueue {
            first: ranks,
            later: BinaryHeap::new(),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, rank: u32) {
        self.later.push(Reverse(rank));
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<u32> {
        match (self.first.last(), self.later.peek()) {
            (Some(&a), Some(&Reverse(b))) if b < a => self.later.pop().map(|r| r.0),
            (Some(_), _) => self.first.pop(),
            (None, _) => self.later.pop().map(|r| r.0),
        }
    }

    /// The lowest one.
    #[inline]
    pub(super) fn peek(&self) -> Option<u32> {
        match (self.first.last(), self.later.peek()) {
            (Some(&a), Some(&Reverse(b))) => Some(a.min(b)),
            (Some(&a), None) => Some(a),
            (None, b) => b.map(|r| r.0),
        }
    }

    /// Those that were not ready from the start, in no order.
    pub(super) fn later(&self) -> impl Iterator<Item = u32> {
        self.later.iter().map(|r| r.0)
    }

    /// Takes this one out, wherever it is. Linear: for one that is not the lowest.
    pub(super) fn take(&mut self, rank: u32) -> bool {
        if self.peek() == Some(rank) {
            return self.pop().is_some();
        }
        let before = self.len();
        if let Ok(at) = self.first.binary_search_by(|other| rank.cmp(other)) {
            self.first.remove(at);
        } else {
            self.later.retain(|other| other.0 != rank);
        }
        self.len() < before
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.later.len()
    }

    pub(super) fn clear(&mut self) {
        self.first = Vec::new();
        self.later = BinaryHeap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_rank_comes_first_whenever_it_was_added() {
        let mut q = ReadyQueue::new(vec![9, 5, 2]);
        q.push(7);
        q.push(1);
        q.push(3);
        assert_eq!(q.len(), 6);
        let taken: Vec<_> = std::iter::from_fn(|| q.pop()).collect();
        assert_eq!(taken, [1, 2, 3, 5, 7, 9]);
        assert_eq!(q.len(), 0);
    }

    #[test]
    fn any_one_can_be_taken_out() {
        let mut q = ReadyQueue::new(vec![9, 5, 2]);
        q.push(7);
        q.push(3);
        q.push(8);
        assert_eq!(q.peek(), Some(2));
        for rank in [5, 7, 2] {
            assert!(q.take(rank));
            assert!(!q.take(rank));
        }
        assert_eq!(q.peek(), Some(3));
        let taken: Vec<_> = std::iter::from_fn(|| q.pop()).collect();
        assert_eq!(taken, [3, 8, 9]);
    }
}
