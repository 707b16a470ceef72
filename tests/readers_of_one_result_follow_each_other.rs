//! When memory is full all readers of one result are taken one after the other, so that
//! it is read from the disk once at most, and goes with the last of them.

mod common;

use common::limited::Limited;
use common::{LONG, id, within};
use mars::executor::Caller;
use mars::testing::graphs::graph;
use mars::testing::{FakeMemory, Move};

const SIZE: u64 = 160_000;

/// Everything to everything: each of `n` sources is split for `m` targets.
///
/// ```text
///   source      source
///    / \         / \      n times
/// split split split split
///     \   \   /   /
///     target target        m times
/// ```
fn all_to_all(n: usize, m: usize) -> Limited {
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); n];
    let mut sizes = vec![SIZE; n];
    for source in 0..n {
        rows.extend((0..m).map(|_| vec![source]));
        sizes.extend((0..m).map(|_| SIZE / m as u64));
    }
    for target in 0..m {
        rows.push((0..n).map(|source| n + source * m + target).collect());
        sizes.push(1000);
    }
    Limited::new(graph(rows), &sizes)
}

#[test]
fn so_that_all_to_all_moves_no_more_than_does_not_fit() {
    within(LONG, || {
        let (n, m) = (12, 10);
        for workers in [1, 2, 4] {
            for observed in [false, true] {
                let mut limited = all_to_all(n, m);
                limited.options = common::options(workers, Caller::Helps);
                limited.observed = observed;
                let excess = n as u64 * SIZE / 2;
                let memory = FakeMemory::new(excess);
                // Sizes are known the second time.
                for _ in 0..2 {
                    let before = memory.written();
                    let (result, _) = limited.run(&memory, |_| Ok(()));
                    assert!(result.is_ok());
                    let written = memory.written() - before;
                    // Several workers are ahead of what has been settled.
                    let times = if workers == 1 { 2 } else { 3 };
                    assert!(written <= times * excess, "{workers} {observed}: {written}");
                }
                memory.assert_empty();
            }
        }
    });
}

/// Far more tasks are ready than are looked at one by one.
#[test]
fn however_many_are_ready() {
    within(LONG, || {
        let (n, m) = (16, 80);
        let limited = all_to_all(n, m);
        let data = n as u64 * SIZE;
        let memory = FakeMemory::new(data / 2);
        for _ in 0..2 {
            let before = memory.written();
            assert!(limited.run(&memory, |_| Ok(())).0.is_ok());
            let written = memory.written() - before;
            assert!(written <= data, "{written}");
        }
        memory.assert_empty();
    });
}

/// Ranks that jump from source to source, all of which have left memory already.
#[test]
fn even_if_the_ranks_do_not() {
    within(LONG, || {
        let (n, m) = (6, 8);
        let mut limited = all_to_all(n, m);
        // First all sources, then the first split of each, the second of each, …
        let splits = (0..m).flat_map(|split| (0..n).map(move |source| n + source * m + split));
        let order: Vec<usize> = (0..n)
            .chain(splits)
            .chain(n + n * m..n + n * m + m)
            .collect();
        for (rank, task) in order.iter().enumerate() {
            limited.ranks[*task] = rank as u32;
        }
        let memory = FakeMemory::new(2 * SIZE + SIZE / 4);
        for _ in 0..2 {
            let before = memory.moves().len();
            let (result, _) = limited.run(&memory, |_| Ok(()));
            assert!(result.is_ok());
            let moves = &memory.moves()[before..];
            for source in 0..n {
                let back = moves.iter().filter(|m| **m == Move::Back(id(source)));
                assert!(back.count() <= 1, "#{source} is read again and again");
            }
        }
        memory.assert_empty();
    });
}
