//! What a task does, as a few words for a stack machine.
//!
//! Every task of a graph compiles to a run of words in one shared table. A
//! word is an [`Op`]: four bits that say what to do and 28 bits of operand.
//! `f(x, 1)` with `x` the result of task 7 is
//!
//! ```text
//! Const f    Slot 7    Const 1    Call 2
//! ```

use crate::graph::TaskId;
use pyo3::prelude::*;
use std::collections::HashSet;

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// Push a constant.
    Const(usize),
    /// Push the result of a task.
    Slot(TaskId),
    /// Call what lies under this many positional arguments.
    Call(usize),
    /// The same with keyword arguments on top; the next word is the constant
    /// that holds their names. The operand counts all arguments.
    CallKw(usize),
    /// Take this many values and push a container of them.
    List(usize),
    Tuple(usize),
    Set(usize),
    FrozenSet(usize),
    /// Take this many pairs of key and value.
    Dict(usize),
    /// Move the top value into a register.
    Store(usize),
    /// Push what is in a register.
    Load(usize),
    /// The same, and empty the register: its last use.
    Take(usize),
}

const OPERAND_BITS: u32 = 28;

impl Op {
    /// Operands must be below this.
    pub(super) const LIMIT: usize = 1 << OPERAND_BITS;

    #[inline]
    pub(super) fn encode(self) -> u32 {
        let (tag, operand) = match self {
            Op::Const(i) => (0, i),
            Op::Slot(t) => (1, t.index()),
            Op::Call(n) => (2, n),
            Op::CallKw(n) => (3, n),
            Op::List(n) => (4, n),
            Op::Tuple(n) => (5, n),
            Op::Set(n) => (6, n),
            Op::FrozenSet(n) => (7, n),
            Op::Dict(n) => (8, n),
            Op::Store(r) => (9, r),
            Op::Load(r) => (10, r),
            Op::Take(r) => (11, r),
        };
        debug_assert!(operand < Op::LIMIT);
        tag << OPERAND_BITS | operand as u32
    }

    #[inline]
    pub(super) fn decode(word: u32) -> Op {
        let operand = (word & ((1 << OPERAND_BITS) - 1)) as usize;
        match word >> OPERAND_BITS {
            0 => Op::Const(operand),
            1 => Op::Slot(TaskId::new(operand)),
            2 => Op::Call(operand),
            3 => Op::CallKw(operand),
            4 => Op::List(operand),
            5 => Op::Tuple(operand),
            6 => Op::Set(operand),
            7 => Op::FrozenSet(operand),
            8 => Op::Dict(operand),
            9 => Op::Store(operand),
            10 => Op::Load(operand),
            _ => Op::Take(operand),
        }
    }
}

/// The programs of all tasks of one graph.
pub(super) struct Programs {
    words: Vec<u32>,
    /// `starts[t]..starts[t + 1]` are the words of task `t`.
    starts: Vec<u32>,
    constants: Vec<Py<PyAny>>,
    /// Where constants met a short while ago are, by address: functions and
    /// small numbers repeat from task to task.
    recent: Box<[u32; RECENT]>,
}

const RECENT: usize = 256;

/// A place in the table to which it can be cut back.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    word: usize,
}

impl Programs {
    pub(super) fn new() -> Self {
        Programs {
            words: Vec::new(),
            starts: vec![0],
            constants: Vec::new(),
            recent: Box::new([u32::MAX; RECENT]),
        }
    }

    /// The program of a single task.
    pub(super) fn of_one_task(words: Vec<u32>, constants: Vec<Py<PyAny>>) -> Self {
        Programs {
            starts: vec![0, words.len() as u32],
            words,
            constants,
            recent: Box::new([u32::MAX; RECENT]),
        }
    }

    pub(super) fn push(&mut self, op: Op) {
        self.words.push(op.encode());
    }

    /// Pushes `Const` for `value`. Fails if there are too many constants.
    pub(super) fn push_constant(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let index = self.constant(value)?;
        self.push(Op::Const(index));
        Ok(())
    }

    /// Pushes a bare constant number, the second word of a `CallKw`.
    pub(super) fn push_names(&mut self, names: &Bound<'_, PyAny>) -> PyResult<()> {
        let index = self.constant(names)?;
        self.words.push(index as u32);
        Ok(())
    }

    fn constant(&mut self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        let entry = &mut self.recent[(value.as_ptr() as usize >> 4) % RECENT];
        if let Some(known) = self.constants.get(*entry as usize)
            && known.is(value)
        {
            return Ok(*entry as usize);
        }
        let index = self.constants.len();
        if index >= Op::LIMIT {
            return Err(super::errors::too_large(crate::graph::GraphError::TooLarge));
        }
        *entry = index as u32;
        self.constants.push(value.clone().unbind());
        Ok(index)
    }

    /// Here.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            word: self.words.len(),
        }
    }

    /// The words since `mark`.
    pub(super) fn since(&self, mark: Mark) -> &[u32] {
        &self.words[mark.word..]
    }

    pub(super) fn since_mut(&mut self, mark: Mark) -> &mut [u32] {
        &mut self.words[mark.word..]
    }

    /// Forgets the words since `mark`.
    pub(super) fn cut(&mut self, mark: Mark) {
        self.words.truncate(mark.word);
    }

    /// Ends the program of the next task.
    pub(super) fn end_task(&mut self) -> PyResult<()> {
        let end = u32::try_from(self.words.len())
            .map_err(|_| super::errors::too_large(crate::graph::GraphError::TooLarge))?;
        self.starts.push(end);
        Ok(())
    }

    pub(super) fn shrink(&mut self) {
        self.words.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.constants.shrink_to_fit();
    }

    #[inline]
    pub(super) fn words(&self, task: TaskId) -> &[u32] {
        let i = task.index();
        &self.words[self.starts[i] as usize..self.starts[i + 1] as usize]
    }

    /// All constants, some of them more than once.
    pub(super) fn constants(&self) -> &[Py<PyAny>] {
        &self.constants
    }

    #[inline]
    pub(super) fn get(&self, constant: usize) -> &Py<PyAny> {
        &self.constants[constant]
    }
}

/// The results that a program needs, each once, in the order in which it comes to them.
pub(super) fn slots(words: &[u32]) -> Vec<TaskId> {
    let mut seen = HashSet::new();
    instructions(words)
        .filter_map(|(_, op)| match op {
            Op::Slot(task) if seen.insert(task) => Some(task),
            _ => None,
        })
        .collect()
}

/// The instructions of a program, with their places; the second word of a `CallKw` is none.
pub(super) fn instructions(words: &[u32]) -> impl Iterator<Item = (usize, Op)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let place = next;
        let op = Op::decode(*words.get(place)?);
        next += if let Op::CallKw(_) = op { 2 } else { 1 };
        Some((place, op))
    })
}

/// Turns the last `Load` of every register into a `Take`, so that a value goes
/// as soon as it was used for the last time.
pub(super) fn take_last_loads(words: &mut [u32], registers: usize) {
    let mut seen = vec![false; registers];
    // The second word of a CallKw is no instruction; find out where these are
    // by going forward, then look for last uses by going backward.
    let mut at = Vec::new();
    let mut i = 0;
    while i < words.len() {
        match Op::decode(words[i]) {
            Op::CallKw(_) => i += 1,
            Op::Load(r) => at.push((i, r)),
            _ => {}
        }
        i += 1;
    }
    for (i, r) in at.into_iter().rev() {
        if !std::mem::replace(&mut seen[r], true) {
            words[i] = Op::Take(r).encode();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_was_encoded() {
        let id = TaskId::new;
        for op in [
            Op::Const(5),
            Op::Slot(id(7)),
            Op::Call(0),
            Op::CallKw(3),
            Op::List(1),
            Op::Tuple(2),
            Op::Set(3),
            Op::FrozenSet(4),
            Op::Dict(5),
            Op::Store(6),
            Op::Load(Op::LIMIT - 1),
            Op::Take(8),
        ] {
            assert_eq!(Op::decode(op.encode()), op);
        }
    }

    #[test]
    fn results_that_a_program_needs_are_listed_once() {
        let slot = |i| Op::Slot(TaskId::new(i)).encode();
        // The word after CallKw is a constant number, whatever it looks like.
        let words = [slot(3), slot(1), Op::CallKw(1).encode(), slot(9), slot(3)];
        assert_eq!(slots(&words), [3, 1].map(TaskId::new));
    }

    #[test]
    fn the_last_load_of_a_register_takes() {
        let mut words: Vec<u32> = [
            Op::Load(0),
            Op::Load(1),
            Op::CallKw(1),
            Op::Load(0),
            Op::Load(0),
        ]
        .map(Op::encode)
        .to_vec();
        // The word after CallKw is a constant number, whatever it looks like.
        take_last_loads(&mut words, 2);
        let ops: Vec<_> = words.into_iter().map(Op::decode).collect();
        assert_eq!(
            ops,
            [
                Op::Load(0),
                Op::Take(1),
                Op::CallKw(1),
                Op::Load(0),
                Op::Take(0)
            ]
        );
    }
}
