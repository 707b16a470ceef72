//! Finds a cycle, if there is one, without recursion.

use super::{TaskGraph, TaskId};

/// The tasks of one cycle, each depending on the next; `None` if acyclic.
pub(super) fn find_cycle(graph: &TaskGraph) -> Option<Vec<TaskId>> {
    // Take away tasks whose dependencies are all gone; what stays needs a
    // cycle to stay.
    let mut missing: Vec<u32> = graph
        .tasks()
        .map(|t| graph.dependencies(t).len() as u32)
        .collect();
    let mut free: Vec<TaskId> = graph.tasks().filter(|t| missing[t.index()] == 0).collect();
    let mut taken = 0;
    while let Some(task) = free.pop() {
        taken += 1;
        for &dependent in graph.dependents(task) {
            let count = &mut missing[dependent.index()];
            *count -= 1;
            if *count == 0 {
                free.push(dependent);
            }
        }
    }
    if taken == graph.len() {
        return None;
    }
    // Every task left has a dependency that is left too: following these must
    // come back to a task already seen, and the walk from there is a cycle.
    let mut task = graph.tasks().find(|t| missing[t.index()] > 0)?;
    let mut seen_at = vec![usize::MAX; graph.len()];
    let mut walk = Vec::new();
    while seen_at[task.index()] == usize::MAX {
        seen_at[task.index()] = walk.len();
        walk.push(task);
        task = *graph
            .dependencies(task)
            .iter()
            .find(|d| missing[d.index()] > 0)?;
    }
    Some(walk.split_off(seen_at[task.index()]))
}
