//! Runs the program of one task.
//!
//! A value on the stack is borrowed or owned. Constants and the results of
//! other tasks are borrowed: the program table and the ledger keep them alive
//! while the task runs, so the usual call touches no reference count. What the
//! program makes itself is owned and let go after its use.

use super::capsule::FailedCall;
use super::program::{Op, Programs};
use super::threads::interpreter_call;
use crate::graph::TaskId;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use smallvec::SmallVec;
use std::ptr;

/// The values of one program while it runs.
#[derive(Default)]
struct Stack {
    values: SmallVec<[*mut PyObject; 16]>,
    /// Positions in `values` that are owned, ascending.
    owned: SmallVec<[usize; 8]>,
    registers: SmallVec<[*mut PyObject; 4]>,
}

impl Stack {
    #[inline]
    fn push_borrowed(&mut self, value: *mut PyObject) {
        self.values.push(value);
    }

    #[inline]
    fn push_owned(&mut self, value: *mut PyObject) {
        self.owned.push(self.values.len());
        self.values.push(value);
    }

    /// Cuts the stack down to `len` values.
    ///
    /// Safety: attached to the interpreter.
    #[inline]
    unsafe fn cut(&mut self, len: usize) {
        while let Some(&position) = self.owned.last() {
            if position < len {
                break;
            }
            self.owned.pop();
            let value = self.values[position];
            // Nothing of ours is borrowed here: the destructor may run
            // anything, and finds the stack without this value.
            // SAFETY: owned values hold one reference; the caller is attached.
            unsafe { interpreter_call::decref(value) };
        }
        self.values.truncate(len);
    }

    /// Takes the top value, owned.
    ///
    /// Safety: attached, and the stack is not empty.
    #[inline]
    unsafe fn pop_owned(&mut self) -> *mut PyObject {
        let top = self.values.len() - 1;
        let value = self.values[top];
        self.values.truncate(top);
        if self.owned.last() == Some(&top) {
            self.owned.pop();
        } else {
            // SAFETY: a borrowed value is alive while the task runs.
            unsafe { ffi::Py_INCREF(value) };
        }
        value
    }

    fn register(&mut self, register: usize) -> &mut *mut PyObject {
        if self.registers.len() <= register {
            self.registers.resize(register + 1, ptr::null_mut());
        }
        &mut self.registers[register]
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: `run` creates the stack while attached and drops it before
        // it returns.
        unsafe {
            self.cut(0);
            for &value in &self.registers {
                if !value.is_null() {
                    interpreter_call::decref(value);
                }
            }
        }
    }
}

/// The result of a dependency.
pub(super) enum Needed {
    /// Alive until the program has ended.
    Borrowed(*mut PyObject),
    /// A new reference.
    Owned(*mut PyObject),
}

/// Runs the program of `task` and returns its result, a new reference.
///
/// `result` gives the result of a dependency. If a call fails, `failed` is told which it was.
pub(super) fn run(
    py: Python<'_>,
    programs: &Programs,
    task: TaskId,
    result: impl Fn(TaskId) -> PyResult<Needed>,
    failed: impl Fn(FailedCall),
) -> PyResult<*mut PyObject> {
    let mut stack = Stack::default();
    let words = programs.words(task);
    let mut next = 0;
    while let Some(&word) = words.get(next) {
        next += 1;
        // SAFETY: attached (`py`). Programs are made by `compile`, which pushes
        // operands before the instruction that takes them, so the stack holds
        // at least as many values as are taken; pointers on it are alive.
        unsafe {
            match Op::decode(word) {
                Op::Const(i) => stack.push_borrowed(programs.get(i).as_ptr()),
                Op::Slot(dependency) => match result(dependency)? {
                    Needed::Borrowed(value) => stack.push_borrowed(value),
                    Needed::Owned(value) => stack.push_owned(value),
                },
                Op::Call(n) => call(py, &mut stack, n, 0, ptr::null_mut(), &failed)?,
                Op::CallKw(n) => {
                    let names = programs.get(words[next] as usize).as_ptr();
                    next += 1;
                    let keywords = ffi::PyTuple_Size(names) as usize;
                    call(py, &mut stack, n, keywords, names, &failed)?;
                }
                Op::List(n) => gather(py, &mut stack, n, |items| list(items))?,
                Op::Tuple(n) => gather(py, &mut stack, n, |items| tuple(items))?,
                Op::Set(n) => gather(py, &mut stack, n, |items| {
                    set(items, ffi::PySet_New(ptr::null_mut()))
                })?,
                Op::FrozenSet(n) => gather(py, &mut stack, n, |items| {
                    set(items, ffi::PyFrozenSet_New(ptr::null_mut()))
                })?,
                Op::Dict(pairs) => gather(py, &mut stack, 2 * pairs, |items| dict(items))?,
                Op::Store(register) => {
                    let value = stack.pop_owned();
                    *stack.register(register) = value;
                }
                Op::Load(register) => {
                    let value = *stack.register(register);
                    stack.push_borrowed(value);
                }
                Op::Take(register) => {
                    let value = std::mem::replace(stack.register(register), ptr::null_mut());
                    stack.push_owned(value);
                }
            }
        }
    }
    // SAFETY: a program leaves exactly its result on the stack.
    Ok(unsafe { stack.pop_owned() })
}

/// Calls what lies under `n` arguments, the last `keywords` of them named.
///
/// Safety: attached; the stack holds the callable and `n` values above it.
#[inline]
unsafe fn call(
    py: Python<'_>,
    stack: &mut Stack,
    n: usize,
    keywords: usize,
    names: *mut PyObject,
    failed: &impl Fn(FailedCall),
) -> PyResult<()> {
    let base = stack.values.len() - n - 1;
    // The callable's own place is free for the callee to use during the call:
    // whoever keeps it alive does so elsewhere, or it is in `owned` and the
    // callee restores it.
    let flags = ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: `base` and the `n` places above it hold live objects, and stay
    // in place: nothing else has the stack.
    let value = unsafe {
        let args = stack.values.as_ptr().add(base + 1);
        interpreter_call::vectorcall(stack.values[base], args, (n - keywords) | flags, names)
    };
    if value.is_null() {
        let error = PyErr::fetch(py);
        // SAFETY: attached; the callable and its arguments are on the stack still.
        failed(unsafe { FailedCall::new(py, &stack.values[base..], names) });
        // SAFETY: attached.
        unsafe { stack.cut(base) };
        return Err(error);
    }
    // SAFETY: attached.
    unsafe { stack.cut(base) };
    stack.push_owned(value);
    Ok(())
}

/// Replaces the top `n` values by what `make` makes of them.
///
/// Safety: attached; the stack holds `n` values.
unsafe fn gather(
    py: Python<'_>,
    stack: &mut Stack,
    n: usize,
    make: impl FnOnce(&[*mut PyObject]) -> *mut PyObject,
) -> PyResult<()> {
    let base = stack.values.len() - n;
    let value = make(&stack.values[base..]);
    // SAFETY: attached.
    unsafe { stack.cut(base) };
    if value.is_null() {
        return Err(PyErr::fetch(py));
    }
    stack.push_owned(value);
    Ok(())
}

/// A new list, or null with an exception set.
///
/// Safety: attached; `items` are alive.
unsafe fn list(items: &[*mut PyObject]) -> *mut PyObject {
    // SAFETY: a list of that length is made and each place filled once.
    unsafe {
        let list = ffi::PyList_New(items.len() as ffi::Py_ssize_t);
        if !list.is_null() {
            for (i, &item) in items.iter().enumerate() {
                ffi::Py_INCREF(item);
                ffi::PyList_SetItem(list, i as ffi::Py_ssize_t, item);
            }
        }
        list
    }
}

/// A new tuple, or null with an exception set.
///
/// Safety: attached; `items` are alive.
unsafe fn tuple(items: &[*mut PyObject]) -> *mut PyObject {
    // SAFETY: a tuple of that length is made and each place filled once.
    unsafe {
        let tuple = ffi::PyTuple_New(items.len() as ffi::Py_ssize_t);
        if !tuple.is_null() {
            for (i, &item) in items.iter().enumerate() {
                ffi::Py_INCREF(item);
                ffi::PyTuple_SetItem(tuple, i as ffi::Py_ssize_t, item);
            }
        }
        tuple
    }
}

/// Fills the new, empty `set`; null with an exception set if an item has no hash.
///
/// Safety: attached; `items` are alive; `set` is null or nobody else has it.
unsafe fn set(items: &[*mut PyObject], set: *mut PyObject) -> *mut PyObject {
    if set.is_null() {
        return set;
    }
    for &item in items {
        // SAFETY: `set` is new, which is when a frozenset may be added to.
        unsafe {
            if ffi::PySet_Add(set, item) != 0 {
                ffi::Py_DECREF(set);
                return ptr::null_mut();
            }
        }
    }
    set
}

/// A new dict of alternating keys and values; null with an exception set if a
/// key has no hash.
///
/// Safety: attached; `items` are alive and an even number.
unsafe fn dict(items: &[*mut PyObject]) -> *mut PyObject {
    // SAFETY: as above.
    unsafe {
        let dict = ffi::PyDict_New();
        if dict.is_null() {
            return dict;
        }
        for pair in items.chunks_exact(2) {
            if ffi::PyDict_SetItem(dict, pair[0], pair[1]) != 0 {
                ffi::Py_DECREF(dict);
                return ptr::null_mut();
            }
        }
        dict
    }
}
