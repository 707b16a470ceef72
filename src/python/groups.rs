//! Tasks whose outputs are expected to be of one size.

use super::prefix;
use super::remote::Remote;
use crate::graph::{TaskGraph, TaskId};
use crate::memory::Groups;
use pyo3::prelude::*;
use std::collections::HashMap;

/// The tasks by layer, by the prefix of their keys, or by the function of their objects.
pub(super) fn groups_of(py: Python<'_>, keys: &[Py<PyAny>], remote: Option<&Remote>) -> Groups {
    let found = prefix::groups_of(py, keys);
    let mut groups = Groups {
        of: found.of_task,
        prefixes: found.prefixes,
    };
    let Some(remote) = remote else {
        return groups;
    };
    let mut by_function: HashMap<String, u32> = HashMap::new();
    for (task, group) in groups.of.iter_mut().enumerate() {
        let Some(object) = remote.object(py, TaskId::new(task)) else {
            continue;
        };
        let Some(function) = object.get().function_name(py) else {
            continue;
        };
        let prefixes = &mut groups.prefixes;
        *group = *by_function.entry(function).or_insert_with_key(|function| {
            // No key of Dask's has such a prefix.
            prefixes.push(format!("{function}()"));
            prefixes.len() as u32 - 1
        });
    }
    groups
}

/// How Dask calls tasks that put the parts of an asked-for collection together.
const PUT_TOGETHER: [&str; 3] = ["finalize", "repartitiontofewer", "list"];

/// What the results that were asked for are made of: parts that are put together in the
/// end stand for the whole, so that it is known before that it will not fit.
pub(super) fn parts(graph: &TaskGraph, groups: &Groups, requested: &[TaskId]) -> Vec<TaskId> {
    let mut parts = Vec::new();
    for &task in requested {
        let prefix = groups.prefixes[groups.of[task.index()] as usize].as_str();
        let dependencies = graph.dependencies(task);
        let is_put_together = PUT_TOGETHER.iter().any(|name| {
            prefix == *name
                || prefix
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('-'))
        });
        if is_put_together && !dependencies.is_empty() {
            parts.extend_from_slice(dependencies);
        } else {
            parts.push(task);
        }
    }
    parts
}
