//! Makes objects.

use super::super::errors;
use super::super::program::Op;
use super::object::{Object, Operation, Retry};
use super::python_side::PythonSide;
use super::template::Writer;
use super::tracking::untrack;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyString, PyTuple};
use pyo3::{Borrowed, ffi};
use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

const DOC: &CStr = c"spawn(func, args=(), kwargs=None, retry_when_fail=False, resolve_tileable_input=False, n_output=None, **kw)
--

A call that is made later, when it is executed.

Mars objects, `ExecutableTuple`s and Dask collections in the arguments, at any
depth of lists, tuples, sets, dicts, named tuples and dataclasses, are computed
first, and the function is given their values. The function may itself spawn,
execute and fetch; if it returns an object, the value of that counts.

Parameters
----------
func : callable
    What to call: a function, lambda, method, class or anything else callable.
args : tuple, default ()
    Its arguments. Anything but a tuple is one argument.
kwargs : dict, optional
    Its keyword arguments.
retry_when_fail : bool or int, default False
    Call it again if it raises an `Exception`: True as often as the session says
    (``new_session(retries=...)``), a number that often. The pause before each
    attempt is twice the one before. Each failure is logged, the last one raised.
resolve_tileable_input : bool, default False
    In Mars, whether tensors and dataframes arrive as values. Here everything
    does: there are no others than Dask's, and these are always computed.
n_output : int, optional
    The function returns an iterable of so many values, each of which becomes an
    object of its own.
**kw
    Nothing else is accepted.

Returns
-------
Object
    Or with `n_output` an `ExecutableTuple` of as many.

Raises
------
TypeError
    `func` is not callable, `kwargs` is no dict, or an option has a wrong type.
ValueError
    A keyword is not known, or `n_output` is below 1.

Notes
-----
The interface is that of ``mars.remote.spawn`` (Mars 0.10).

Examples
--------
>>> import mars.remote as mr
>>> def add(x, y):
...     return x + y
>>> first = mr.spawn(add, args=(1, 2))
>>> mr.spawn(add, args=(first,), kwargs={\"y\": first}).execute().fetch()
6
>>> quotient, rest = mr.spawn(divmod, args=(17, 5), n_output=2)
>>> rest.execute().fetch()
2
";

/// Adds `spawn` to the module.
///
/// By hand, because the call is hot: a function that names any keywords (to say in
/// Mars's way that it does not know them) is given a new dict at each call otherwise.
pub(super) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    struct Definition(UnsafeCell<ffi::PyMethodDef>);
    // SAFETY: CPython only reads it.
    unsafe impl Sync for Definition {}
    static DEFINITION: Definition = Definition(UnsafeCell::new(ffi::PyMethodDef {
        ml_name: c"spawn".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: entry,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: DOC.as_ptr(),
    }));
    let py = module.py();
    let name = PyString::new(py, "mars.remote");
    // SAFETY: attached; the definition is static, as CPython wants it.
    let function = unsafe {
        let function = ffi::PyCFunction_NewEx(DEFINITION.0.get(), ptr::null_mut(), name.as_ptr());
        Bound::from_owned_ptr_or_err(py, function)?
    };
    module.add("spawn", function)
}

unsafe extern "C" fn entry(
    _module: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let result = catch_unwind(AssertUnwindSafe(|| {
        // Attached already; PyO3 has to know, to let go of references at once.
        Python::attach(|py| {
            // SAFETY: CPython passes so many positional arguments, then one for
            // each name in a tuple of str, if there is one.
            let (args, names) = unsafe {
                let names = Bound::from_borrowed_ptr_or_opt(py, names);
                let names = names.map(|names| names.cast_into_unchecked::<PyTuple>());
                let all = count as usize + names.as_ref().map_or(0, |names| names.len());
                // A slice is never made from a null pointer.
                let args = if all == 0 {
                    &[]
                } else {
                    std::slice::from_raw_parts(args.cast::<Borrowed<'_, '_, PyAny>>(), all)
                };
                (args, names)
            };
            let parameters = Parameters::read(args, count as usize, names)?;
            spawn(py, &parameters).map(Bound::into_ptr)
        })
    }))
    .unwrap_or_else(|_| Err(errors::internal("spawn panicked")));
    result.unwrap_or_else(|error| {
        Python::attach(|py| error.restore(py));
        ptr::null_mut()
    })
}

/// The parameters of `spawn` as they were given.
#[derive(Default)]
struct Parameters<'a, 'py> {
    given: [Option<Borrowed<'a, 'py, PyAny>>; PARAMETERS.len()],
}

const PARAMETERS: [&str; 6] = [
    "func",
    "args",
    "kwargs",
    "retry_when_fail",
    "resolve_tileable_input",
    "n_output",
];

impl<'a, 'py> Parameters<'a, 'py> {
    fn read(
        args: &[Borrowed<'a, 'py, PyAny>],
        positional: usize,
        names: Option<Bound<'py, PyTuple>>,
    ) -> PyResult<Self> {
        if positional > PARAMETERS.len() {
            return Err(PyTypeError::new_err(format!(
                "spawn() takes from 1 to {} positional arguments but {positional} were given",
                PARAMETERS.len()
            )));
        }
        let mut given = [None; PARAMETERS.len()];
        for (place, arg) in given.iter_mut().zip(&args[..positional]) {
            *place = Some(*arg);
        }
        let mut unexpected = Vec::new();
        for (name, arg) in names.iter().flatten().zip(&args[positional..]) {
            let name = name.cast_into::<PyString>()?;
            let name = name.to_cow()?;
            match PARAMETERS.iter().position(|parameter| *parameter == name) {
                None => unexpected.push(name.into_owned()),
                Some(i) if given[i].is_some() => {
                    return Err(PyTypeError::new_err(format!(
                        "spawn() got multiple values for argument '{name}'"
                    )));
                }
                Some(i) => given[i] = Some(*arg),
            }
        }
        if !unexpected.is_empty() {
            return Err(PyValueError::new_err(format!(
                "Unexpected kw: {}",
                unexpected.join(", ")
            )));
        }
        Ok(Parameters { given })
    }

    fn get(&self, place: usize) -> Option<&Bound<'py, PyAny>> {
        self.given[place].as_deref()
    }
}

fn spawn<'py>(py: Python<'py>, parameters: &Parameters<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let Some(func) = parameters.get(0) else {
        return Err(PyTypeError::new_err(
            "spawn() missing 1 required positional argument: 'func'",
        ));
    };
    let (args, kwargs) = (
        parameters.get(1),
        parameters.get(2).filter(|kw| !kw.is_none()),
    );
    let (retry_when_fail, resolve_tileable_input) = (parameters.get(3), parameters.get(4));
    let n_output = parameters.get(5).filter(|n| !n.is_none());
    if !func.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "func has to be callable, got {} of type {}",
            func.repr()?,
            func.get_type().qualname()?
        )));
    }
    let kwargs = kwargs
        .map(|kwargs| {
            kwargs.cast::<PyDict>().map_err(|_| {
                PyTypeError::new_err(format!(
                    "kwargs has to be a dict, not {}",
                    kwargs.get_type()
                ))
            })
        })
        .transpose()?;
    if let Some(flag) = resolve_tileable_input
        && !flag.is_exact_instance_of::<PyBool>()
    {
        return Err(PyTypeError::new_err(format!(
            "resolve_tileable_input has to be True or False, not {}",
            flag.repr()?
        )));
    }
    let retry = retry_when_fail.map_or(Ok(Retry::Never), retry)?;
    let n_output = n_output.map(count_of_outputs).transpose()?;

    let mut writer = Writer::new(py);
    writer.constant(func);
    let mut positional = 0;
    match args.map(|args| args.cast::<PyTuple>()) {
        None => {}
        // An executable tuple is one argument, as any other object is.
        Some(Ok(args)) if args.is_exact_instance_of::<PyTuple>() || !is_executable(args)? => {
            positional = args.len();
            for arg in args.iter_borrowed() {
                writer.argument(&arg)?;
            }
        }
        Some(_) => {
            positional = 1;
            if let Some(arg) = args {
                writer.argument(arg)?;
            }
        }
    }
    match kwargs {
        Some(kwargs) if !kwargs.is_empty() => {
            for (name, value) in kwargs.iter() {
                if !name.is_instance_of::<PyString>() {
                    return Err(PyTypeError::new_err(format!(
                        "the names in kwargs have to be str, not {}",
                        name.repr()?
                    )));
                }
                writer.argument(&value)?;
            }
            writer.emit(Op::CallKw(positional + kwargs.len()));
            writer.names(&PyTuple::new(py, kwargs.keys())?);
        }
        _ => writer.emit(Op::Call(positional)),
    }
    let object = object(py, writer, retry, n_output, None)?;
    match n_output {
        None => Ok(object.into_any()),
        Some(count) => outputs_of(&object, count),
    }
}

/// An executable tuple of the outputs of one call, which runs once for all.
fn outputs_of<'py>(call: &Bound<'py, Object>, count: usize) -> PyResult<Bound<'py, PyAny>> {
    let py = call.py();
    let python_side = PythonSide::get(py)?;
    let log = (call.get())._keep_log(py, python_side.log.call0(py)?);
    let each = (0..count).map(|i| {
        let mut writer = Writer::new(py);
        writer.constant(python_side.item.bind(py));
        writer.dependency(call);
        writer.constant(&PyInt::new(py, i));
        writer.emit(Op::Call(2));
        object(py, writer, Retry::Never, None, Some(log.clone_ref(py)))
    });
    let each = PyList::new(py, each.collect::<PyResult<Vec<_>>>()?)?;
    python_side.executable_tuple.bind(py).call1((each,))
}

fn object<'py>(
    py: Python<'py>,
    writer: Writer<'py>,
    retry: Retry,
    outputs: Option<usize>,
    log: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, Object>> {
    let (template, needs_tracking) = writer.finish();
    let mut object = Object::new(Operation::RemoteFunction, retry, template, log, None);
    object.outputs = outputs;
    let object = Bound::new(py, object)?;
    if !needs_tracking {
        untrack(&object);
    }
    Ok(object)
}

fn is_executable(args: &Bound<'_, PyTuple>) -> PyResult<bool> {
    let py = args.py();
    args.is_instance(PythonSide::get(py)?.executable_tuple.bind(py))
}

fn retry(value: &Bound<'_, PyAny>) -> PyResult<Retry> {
    if value.is_exact_instance_of::<PyBool>() {
        return Ok(if value.is_truthy()? {
            Retry::AsConfigured
        } else {
            Retry::Never
        });
    }
    match value.extract::<u32>() {
        Ok(times) => Ok(Retry::Times(times)),
        Err(error) => {
            let wrong = format!(
                "retry_when_fail has to be True, False or a number of attempts, not {}",
                value.repr()?
            );
            Err(if error.is_instance_of::<PyTypeError>(value.py()) {
                PyTypeError::new_err(wrong)
            } else {
                PyValueError::new_err(wrong)
            })
        }
    }
}

fn count_of_outputs(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let wrong = || {
        let shown = value
            .repr()
            .map(|text| text.to_string())
            .unwrap_or_default();
        format!("n_output has to be a whole number of at least 1, not {shown}")
    };
    if value.is_exact_instance_of::<PyBool>() {
        return Err(PyTypeError::new_err(wrong()));
    }
    match value.extract::<i64>() {
        Ok(count @ 1..) => usize::try_from(count).map_err(|_| PyValueError::new_err(wrong())),
        Ok(_) => Err(PyValueError::new_err(wrong())),
        Err(_) => Err(PyTypeError::new_err(wrong())),
    }
}

/// The object whose value is meant by what a function returned: that object, or
/// one that gathers the values of an executable tuple. None for anything else.
pub(super) fn returned<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, Object>>> {
    let py = value.py();
    if let Ok(object) = value.cast_exact::<Object>() {
        return Ok(Some(object.clone()));
    }
    let is_executable = match value.cast::<PyTuple>() {
        Ok(tuple) if !tuple.is_exact_instance_of::<PyTuple>() => is_executable(tuple)?,
        _ => false,
    };
    if !is_executable {
        return Ok(None);
    }
    let mut writer = Writer::new(py);
    writer.constant(PythonSide::get(py)?.same.bind(py));
    writer.argument(value)?;
    writer.emit(Op::Call(1));
    object(py, writer, Retry::Never, None, None).map(Some)
}

/// The object that stands for the value of a Dask collection.
#[pyfunction]
pub(crate) fn convert<'py>(collection: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Object>> {
    let py = collection.py();
    // What computes it where its graph cannot join another one.
    let compute = py
        .import("mars.contrib.dask._convert")?
        .getattr("compute")?;
    let mut writer = Writer::new(py);
    writer.constant(&compute);
    writer.constant(collection);
    writer.emit(Op::Call(1));
    let object = Object::new(
        Operation::DaskCollection,
        Retry::Never,
        writer.finish().0,
        None,
        Some(collection.clone().unbind()),
    );
    Bound::new(py, object)
}
