//! What kind of task a key belongs to.
//!
//! Dask names tasks `inc-1b4e28ba…` or `('sum-aggregate-af01…', 0, 1)`. The [`prefix`] is what a
//! person would call them, `inc` and `sum-aggregate`. Tasks of one *group*, a layer of
//! blocks or the calls of one function, do the same with different data; so what is learned
//! of one of them goes for the others.

use crate::python::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use std::borrow::Cow;
use std::collections::HashMap;

/// The prefix of keys that have none.
const OTHER: &str = "Other";

/// What a key is told apart by: a text, or nothing.
enum Name<'a, 'py> {
    /// A key that is a text.
    Text(Cow<'a, str>),
    /// The first item of a tuple, which all blocks of a layer have.
    Layer(Bound<'py, PyString>),
    Nothing,
}

/// The prefix of `key`, as `dask.utils.key_split` tells it: `"Other"` if it has none.
///
/// Where that function fails, for an empty tuple or undecodable bytes, the key has none; and so
/// has text that is no Unicode, which lone surrogates are not.
pub(super) fn prefix(key: &Bound<'_, PyAny>) -> String {
    match name_of(key) {
        Name::Text(text) => split(&text, is_alphabetic(key.py())).into_owned(),
        Name::Layer(layer) => match layer.to_str() {
            Ok(layer) => split(layer, is_alphabetic(key.py())).into_owned(),
            Err(_) => OTHER.to_owned(),
        },
        Name::Nothing => OTHER.to_owned(),
    }
}

/// The prefix of a key.
#[pyfunction]
pub(super) fn key_prefix(key: &Bound<'_, PyAny>) -> String {
    prefix(key)
}

fn name_of<'a, 'py>(key: &'a Bound<'py, PyAny>) -> Name<'a, 'py> {
    if let Ok(text) = key.cast::<PyString>() {
        return match text.to_str() {
            Ok(text) => Name::Text(Cow::Borrowed(text)),
            Err(_) => Name::Nothing,
        };
    }
    // Tuples in tuples, to any depth.
    let mut first = None;
    while let Ok(tuple) = first.as_ref().unwrap_or(key).cast_exact::<PyTuple>() {
        match tuple.get_item(0) {
            Ok(item) => first = Some(item),
            Err(_) => return Name::Nothing,
        }
    }
    let innermost = first.as_ref().unwrap_or(key);
    if let Ok(bytes) = innermost.cast_exact::<PyBytes>() {
        return match std::str::from_utf8(bytes.as_bytes()) {
            Ok(text) => Name::Text(Cow::Owned(text.to_owned())),
            Err(_) => Name::Nothing,
        };
    }
    match first.map(Bound::cast_into::<PyString>) {
        Some(Ok(layer)) => Name::Layer(layer),
        _ => Name::Nothing,
    }
}

/// Whether Python says `isalpha` of a text. Beyond ASCII, Rust calls other characters alphabetic.
fn is_alphabetic(py: Python<'_>) -> impl Fn(&str) -> bool {
    move |text| {
        if text.is_ascii() {
            return !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphabetic());
        }
        let asked = PyString::new(py, text).call_method0(intern!(py, "isalpha"));
        asked.and_then(|answer| answer.is_truthy()).unwrap_or(false)
    }
}

/// The prefix of a text. `is_alphabetic` says whether a text is letters only, and not empty.
///
/// The first word up to a hyphen counts, stripped of brackets and quotes if it begins with no
/// letter, and after it words of letters only, which hexadecimal digests mostly are not. That a word
/// of eight letters of which the first is one of `a` to `f` is taken for a digest is Dask's way too.
fn split(text: &str, is_alphabetic: impl Fn(&str) -> bool) -> Cow<'_, str> {
    let first = text.split('-').next().unwrap_or_default();
    let Some(initial) = first.chars().next() else {
        return Cow::Borrowed(OTHER);
    };
    let mut end = first.len();
    for word in text[end..].split('-').skip(1) {
        let is_digest = word.starts_with(|c| ('a'..='f').contains(&c)) && word.chars().count() == 8;
        if is_digest || !is_alphabetic(word) {
            break;
        }
        end += 1 + word.len();
    }
    let result = if is_alphabetic(&first[..initial.len_utf8()]) {
        Cow::Borrowed(&text[..end])
    } else {
        let item = first.split(',').next().unwrap_or_default();
        let item = item.trim_matches(['_', '\'', '(', ')', '"']);
        match &text[first.len()..end] {
            "" => Cow::Borrowed(item),
            words => Cow::Owned(format!("{item}{words}")),
        }
    };
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if result.len() == 32 && result.bytes().all(is_hex) {
        return Cow::Borrowed("data");
    }
    if result.starts_with('<') {
        return Cow::Owned(class_in(&result).to_owned());
    }
    match result.is_empty() {
        true => Cow::Borrowed(OTHER),
        false => result,
    }
}

/// `Class` of `<package.module.Class object at 0x…>`.
fn class_in(text: &str) -> &str {
    // As Python has it, these four are white space too.
    let is_space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    let mut words = text.trim_matches(['<', '>']).split(is_space);
    let dotted = words.find(|word| !word.is_empty());
    let class = dotted.map(|word| word.rsplit('.').next().unwrap_or_default());
    class.unwrap_or(OTHER)
}

/// The tasks of a run by what they do.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The group of each task.
    pub(super) of_task: Vec<u32>,
    /// The prefix of each group. Several groups may have the same one.
    pub(super) prefixes: Vec<String>,
    /// The name of each group: that of the layer for blocks, the prefix for other tasks.
    pub(super) names: Vec<String>,
}

/// Groups the tasks of these keys; groups are numbered as they are first met.
pub(super) fn groups_of(py: Python<'_>, keys: &[Py<PyAny>]) -> Groups {
    let mut groups = Groups {
        of_task: Vec::with_capacity(keys.len()),
        ..Groups::default()
    };
    let mut by_name: HashMap<String, u32> = HashMap::new();
    // Blocks of a layer mostly share one object as their first item, which `keys` keeps alive:
    // its address tells the group without looking at the text.
    let mut by_address: HashMap<usize, u32> = HashMap::new();
    let mut last = (0, 0);
    let is_alphabetic = is_alphabetic(py);
    for key in keys {
        let name = name_of(key.bind(py));
        let group = match &name {
            Name::Layer(layer) => {
                let address = layer.as_ptr() as usize;
                if last.0 != address {
                    let group = *by_address.entry(address).or_insert_with(|| {
                        let text = layer.to_str().unwrap_or(OTHER);
                        groups.number(&mut by_name, text, |t| split(t, &is_alphabetic))
                    });
                    last = (address, group);
                }
                last.1
            }
            Name::Text(text) => {
                let prefix = split(text, &is_alphabetic);
                groups.number(&mut by_name, &prefix, Cow::Borrowed)
            }
            Name::Nothing => groups.number(&mut by_name, OTHER, Cow::Borrowed),
        };
        groups.of_task.push(group);
    }
    groups
}

impl Groups {
    /// The number of the group called `name`.
    fn number<'a>(
        &mut self,
        by_name: &mut HashMap<String, u32>,
        name: &'a str,
        prefix: impl FnOnce(&'a str) -> Cow<'a, str>,
    ) -> u32 {
        // Neighbours mostly are of one group: comparing is cheaper than looking it up.
        if let Some(&last) = self.of_task.last()
            && self.names[last as usize] == name
        {
            return last;
        }
        if let Some(group) = by_name.get(name) {
            return *group;
        }
        let group = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.prefixes.push(prefix(name).into_owned());
        by_name.insert(name.to_owned(), group);
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascii(text: &str) -> bool {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphabetic())
    }

    #[test]
    fn texts_are_split_as_dask_splits_them() {
        for (key, expected) in [
            ("x", "x"),
            ("x-1", "x"),
            ("x-1-2-3", "x"),
            ("x-y-1-z", "x-y"),
            ("('x-2', 1)", "x"),
            ("('x', 1)", "x"),
            ("hello-world-1", "hello-world"),
            ("ae05086432ca935f6eba409a8ecd4896", "data"),
            ("<module.submodule.myclass object at 0xdaf372", "myclass"),
            ("x-abcdefab", "x"),
            ("x-download", "x"),
            ("x-upload", "x-upload"),
            ("_(x)", "x"),
            ("_x-y-1", "x-y"),
            ("_-y", "-y"),
            ("", "Other"),
            ("-x", "Other"),
            ("_", "Other"),
            ("<>", "Other"),
            ("<a.>", ""),
            ("x-", "x"),
            ("x--y", "x"),
        ] {
            assert_eq!(split(key, ascii), expected, "{key:?}");
        }
    }

    #[test]
    fn a_prefix_is_mostly_not_copied() {
        assert!(matches!(split("sum-aggregate-1", ascii), Cow::Borrowed(_)));
    }

    #[test]
    fn blocks_go_by_layer_and_other_tasks_by_prefix() {
        Python::initialize();
        Python::attach(|py| {
            let keys = c"[('a-1', 0), ('a-1', 1), ('a-2', 0), 'b-1', 'b-2', ('b', 0), 3, (), (('a-1',), 0)]";
            let keys: Vec<Py<PyAny>> = py.eval(keys, None, None).unwrap().extract().unwrap();
            let groups = groups_of(py, &keys);
            assert_eq!(groups.of_task, [0, 0, 1, 2, 2, 2, 3, 3, 0]);
            assert_eq!(groups.names, ["a-1", "a-2", "b", "Other"]);
            assert_eq!(groups.prefixes, ["a", "a", "b", "Other"]);
        });
    }
}
