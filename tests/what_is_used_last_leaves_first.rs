//! What leaves memory is what will not be used for longest, and no more than has to.

mod common;

use common::limited::Limited;
use common::{LONG, id, within};
use mars::testing::graphs::graph;
use mars::testing::{FakeMemory, FakeResult, Move, Writing};

/// ```text
/// 0 1 2 3 4   5    each as large as the limit allows, and one that does not fit
///  \ \ \ \ \  |
///   6 7 8 9 10     each reads one of the first, and 5; in the order of `users`
/// ```
fn used_in_order(users: [usize; 5]) -> Limited {
    let mut rows = vec![Vec::new(); 6];
    rows.extend((0..5).map(|i| vec![i, 5]));
    let sizes = [
        30_000, 30_000, 30_000, 30_000, 30_000, 50_000, 0, 0, 0, 0, 0,
    ];
    let mut limited = Limited::new(graph(rows), &sizes);
    limited.ranks = (0..11).collect();
    for (rank, user) in users.into_iter().enumerate() {
        limited.ranks[6 + user] = 6 + rank as u32;
    }
    limited
}

const LIMIT: u64 = 150_000;

/// What was moved by the second run: then sizes are known.
fn moves(limited: &Limited) -> Vec<Move> {
    let memory = FakeMemory::new(LIMIT);
    let before = {
        assert!(limited.run(&memory, |_| Ok(())).0.is_ok());
        memory.moves().len()
    };
    assert!(limited.run(&memory, |_| Ok(())).0.is_ok());
    memory.assert_empty();
    memory.moves()[before..].to_vec()
}

#[test]
fn in_the_order_of_use() {
    within(LONG, || {
        for users in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]] {
            let [.., next, last] = users.map(id);
            let moves = moves(&used_in_order(users));
            let expected = [last, next].map(Move::Out);
            assert_eq!(moves[..2], expected, "{users:?}");
            // And back, in the order of use.
            assert_eq!(moves[2..], [next, last].map(Move::Back), "{users:?}");
        }
    });
}

#[test]
fn asked_for_results_before_all_others() {
    within(LONG, || {
        let mut limited = used_in_order([0, 1, 2, 3, 4]);
        // Nobody but the caller needs it.
        limited.graph = graph([
            vec![],
            vec![],
            vec![],
            vec![],
            vec![],
            vec![],
            vec![0, 5],
            vec![1, 5],
            vec![5],
            vec![3, 5],
            vec![4, 5],
        ]);
        limited.requested = vec![id(2)];
        assert_eq!(moves(&limited)[..2], [2, 4].map(id).map(Move::Out));
    });
}

#[test]
fn except_what_cannot_be_written_or_is_not_worth_it() {
    within(LONG, || {
        let mut limited = used_in_order([0, 1, 2, 3, 4]);
        limited.results[4].writing = Writing::Fails;
        limited.results[3] = FakeResult::of(8 * 1024 - 1);
        limited.results[1].own = 51_809;
        assert_eq!(moves(&limited)[..2], [2, 1].map(id).map(Move::Out));
    });
}
