//! What an order is for, shown on drawn graphs.

use super::{Hints, order, order_with};
use crate::graph::{GraphBuilder, TaskGraph, TaskId};

fn id(task: usize) -> TaskId {
    TaskId::new(task)
}

/// A graph from the dependencies of each task.
fn graph(rows: &[&[usize]]) -> TaskGraph {
    let mut builder = GraphBuilder::new();
    for row in rows {
        let row: Vec<TaskId> = row.iter().copied().map(id).collect();
        builder.push(&row).unwrap();
    }
    builder.finish().unwrap()
}

/// The tasks as they run.
fn sequence(ranks: &[u32]) -> Vec<usize> {
    let mut tasks = vec![usize::MAX; ranks.len()];
    for (task, &rank) in ranks.iter().enumerate() {
        tasks[rank as usize] = task;
    }
    assert!(!tasks.contains(&usize::MAX), "ranks are no permutation");
    tasks
}

/// The most results live at once if one worker runs the tasks by rank.
fn peak(graph: &TaskGraph, ranks: &[u32], hints: Hints<'_>) -> usize {
    let mut waiters: Vec<usize> = graph.tasks().map(|t| graph.dependents(t).len()).collect();
    for task in graph.tasks() {
        let kept = graph.dependents(task).is_empty() || hints.requested.contains(&task);
        waiters[task.index()] += usize::from(kept);
    }
    let (mut live, mut most) = (0, 0);
    let mut done = vec![false; graph.len()];
    for task in sequence(ranks).into_iter().map(id) {
        let above = graph.dependencies(task);
        assert!(above.iter().all(|d| done[d.index()]), "{task:?} too early");
        done[task.index()] = true;
        if !hints.known.contains(&task) {
            live += 1;
        }
        most = most.max(live);
        for dependency in above.iter().filter(|d| !hints.known.contains(d)) {
            waiters[dependency.index()] -= 1;
            if waiters[dependency.index()] == 0 {
                live -= 1;
            }
        }
    }
    most
}

fn peak_of(graph: &TaskGraph) -> usize {
    peak(graph, &order(graph), Hints::default())
}

/// Adds a tree over `level`, each task over at most `width` of the level below.
fn add_tree(builder: &mut GraphBuilder, mut level: Vec<TaskId>, width: usize) -> TaskId {
    while level.len() > 1 {
        let next = level.chunks(width);
        level = next.map(|row| builder.push(row).unwrap()).collect();
    }
    level[0]
}

fn add_sources(builder: &mut GraphBuilder, count: usize) -> Vec<TaskId> {
    (0..count).map(|_| builder.push(&[]).unwrap()).collect()
}

fn add_on_each(builder: &mut GraphBuilder, row: &[TaskId]) -> Vec<TaskId> {
    row.iter().map(|&t| builder.push(&[t]).unwrap()).collect()
}

#[test]
fn no_task_no_rank() {
    assert!(order(&TaskGraph::default()).is_empty());
    assert!(order(&graph(&[])).is_empty());
}

#[test]
fn a_chain_is_run_through_before_the_next_begins() {
    // 2   5
    // |   |
    // 1   4
    // |   |
    // 0   3
    let g = graph(&[&[], &[0], &[1], &[], &[3], &[4]]);
    assert_eq!(sequence(&order(&g)), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_tree_reduction_holds_one_result_a_level() {
    //        6
    //      /   \
    //    4       5
    //   / \     / \
    //  0   1   2   3
    let g = graph(&[&[], &[], &[], &[], &[0, 1], &[2, 3], &[4, 5]]);
    assert_eq!(sequence(&order(&g)), [0, 1, 4, 2, 3, 5, 6]);

    let mut builder = GraphBuilder::new();
    let leaves = add_sources(&mut builder, 1 << 12);
    add_tree(&mut builder, leaves, 2);
    assert_eq!(peak_of(&builder.finish().unwrap()), 14);
}

#[test]
fn the_hungriest_branch_goes_first() {
    //          6
    //        /   \
    //       5     0       with 0 first, 0 and three others would be live
    //     / | \
    //    1  2  3
    //    |
    //    4
    let g = graph(&[&[], &[4], &[], &[], &[], &[1, 2, 3], &[0, 5]]);
    assert_eq!(sequence(&order(&g)), [4, 1, 2, 3, 5, 0, 6]);
    assert_eq!(peak_of(&g), 4);
}

#[test]
fn the_last_user_of_a_result_runs_at_once() {
    //    4       7      whichever output is gone for, the other's task on 0
    //   / \     / \     follows its own: it releases 0
    //  2   3   5   6
    //  |   |   |   |
    //  0   1   0   1
    let g = graph(&[&[], &[], &[0], &[1], &[2, 3], &[0], &[1], &[5, 6]]);
    let ranks = order(&g);
    assert_eq!(ranks[2].abs_diff(ranks[5]), 1);
}

#[test]
fn two_outputs_share_inputs_without_piling_them_up() {
    //   sum           max
    //  /  \          /   \      (trees)
    // s0  s1 ...    m0   m1 ...
    //  |   |         |    |
    // x0  x1 ...    x0   x1 ...
    let mut builder = GraphBuilder::new();
    let x = add_sources(&mut builder, 256);
    for _ in 0..2 {
        let row = add_on_each(&mut builder, &x);
        add_tree(&mut builder, row, 4);
    }
    // Depth first, one output after the other, all 256 are live.
    assert!(peak_of(&builder.finish().unwrap()) <= 30);
}

#[test]
fn a_third_use_of_each_input_runs_with_the_reductions_behind_it() {
    // As above with three outputs: no use alone releases anything.
    let mut builder = GraphBuilder::new();
    let x = add_sources(&mut builder, 1024);
    for _ in 0..3 {
        let row = add_on_each(&mut builder, &x);
        add_tree(&mut builder, row, 4);
    }
    assert!(peak_of(&builder.finish().unwrap()) <= 50);
}

#[test]
fn a_shuffle_is_finished_once_its_inputs_are_there() {
    // Two shuffles of 12, joined row by row: while the second is under way, no
    // input of the first is held beside its outputs.
    let mut builder = GraphBuilder::new();
    let sides: Vec<Vec<TaskId>> = (0..2)
        .map(|_| {
            let x = add_sources(&mut builder, 12);
            (0..12)
                .map(|_| {
                    let pieces = add_on_each(&mut builder, &x);
                    builder.push(&pieces).unwrap()
                })
                .collect()
        })
        .collect();
    let joined: Vec<TaskId> = (0..12)
        .map(|i| builder.push(&[sides[0][i], sides[1][i]]).unwrap())
        .collect();
    add_tree(&mut builder, joined, 12);
    // 12 outputs of the first, 12 inputs and 12 pieces of the second, and one.
    assert_eq!(peak_of(&builder.finish().unwrap()), 37);
}

#[test]
fn known_results_cost_nothing_and_come_first() {
    //   3   4         k is there before anything runs: it ties 1 and 2 to no
    //   |   |         common fate
    //   1   2
    //    \ /
    //     k
    let g = graph(&[&[], &[0], &[0], &[1], &[2]]);
    let hints = Hints {
        known: &[id(0)],
        ..Hints::default()
    };
    let ranks = order_with(&g, hints);
    assert_eq!(sequence(&ranks), [0, 1, 3, 2, 4]);
    assert_eq!(peak(&g, &ranks, hints), 3);
}

#[test]
fn a_known_result_needs_no_dependencies_yet_they_have_ranks() {
    // 2   3
    //  \ /
    //   k        known
    //   |
    //   0
    let g = graph(&[&[], &[0], &[1], &[1]]);
    let hints = Hints {
        known: &[id(1)],
        ..Hints::default()
    };
    assert_eq!(sequence(&order_with(&g, hints)), [1, 2, 3, 0]);
}

#[test]
fn requested_results_are_not_expected_to_be_released() {
    //    5
    //    |
    //    4       3      1 is asked for: 2 releases nothing, whenever it runs, so
    //    |      /       it is left for the time when 3 needs it
    //    |     2
    //    |    /
    //    0   1
    let g = graph(&[&[], &[], &[1], &[2], &[0], &[4]]);
    let hints = Hints {
        requested: &[id(1)],
        ..Hints::default()
    };
    let ranks = order_with(&g, hints);
    assert_eq!(peak(&g, &ranks, hints), 4);
}

/// Random layered graphs, reproducible.
fn layered(tasks: usize, width: usize, mut seed: u64) -> TaskGraph {
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let mut builder = GraphBuilder::new();
    for task in 0..tasks {
        let layer = task / width * width;
        let row: Vec<TaskId> = (0..if layer > 0 { 1 + random(5) } else { 0 })
            .map(|_| id(layer - 1 - random(width)))
            .collect();
        builder.push(&row).unwrap();
    }
    builder.finish().unwrap()
}

#[test]
fn any_graph_gets_a_permutation_that_respects_dependencies() {
    for seed in 0..200 {
        let g = layered(120, 1 + seed as usize % 12, seed);
        let known: Vec<TaskId> = (0..seed as usize % 3).map(id).collect();
        let requested = [id(30), id(60)];
        let hints = Hints {
            known: &known,
            requested: &requested,
        };
        peak(&g, &order(&g), Hints::default());
        peak(&g, &order_with(&g, hints), hints);
    }
}

#[test]
fn the_same_graph_gets_the_same_ranks() {
    assert_eq!(order(&layered(5_000, 50, 1)), order(&layered(5_000, 50, 1)));
}

#[test]
fn a_million_tasks_deep_needs_no_stack() {
    let n = 1_000_000usize;
    let mut builder = GraphBuilder::new();
    for task in 0..n {
        // Every task has two users: nothing ends after the first walk.
        let row: Vec<TaskId> = (task.saturating_sub(2)..task).map(id).collect();
        builder.push(&row).unwrap();
    }
    let g = builder.finish().unwrap();
    let ranks = order(&g);
    assert!(
        ranks
            .iter()
            .enumerate()
            .all(|(t, &rank)| t == rank as usize)
    );
}
