//! What is known of each task before the walk.

use crate::graph::{TaskGraph, TaskId};

pub(super) struct Labels {
    pub need: Vec<u32>,
    pub size: Vec<u32>,
}

pub(super) fn labels(graph: &TaskGraph, known: &dyn Fn(TaskId) -> bool) -> Labels {
    let n = graph.len();
    let mut missing: Vec<u32> = graph
        .tasks()
        .map(|t| graph.dependencies(t).len() as u32)
        .collect();
    let mut queue: Vec<TaskId> = graph.tasks().filter(|t| missing[t.index()] == 0).collect();
    let mut need = vec![0u32; n];
    let mut size = vec![0u32; n];
    let mut row: Vec<u32> = vec![];
    let mut i = 0;
    while i < queue.len() {
        let t = queue[i];
        i += 1;
        if !known(t) {
            row.clear();
            row.extend(
                graph
                    .dependencies(t)
                    .iter()
                    .map(|d| need[d.index()])
                    .filter(|&x| x > 0),
            );
            row.sort_unstable_by(|a, b| b.cmp(a));
            let m = row
                .iter()
                .enumerate()
                .map(|(i, x)| i as u32 + x)
                .max()
                .unwrap_or(0);
            need[t.index()] = m.max(row.len() as u32 + 1);
            size[t.index()] = graph
                .dependencies(t)
                .iter()
                .fold(1u32, |s, d| s.saturating_add(size[d.index()]));
        }
        for &u in graph.dependents(t) {
            missing[u.index()] -= 1;
            if missing[u.index()] == 0 {
                queue.push(u);
            }
        }
    }
    Labels { need, size }
}
