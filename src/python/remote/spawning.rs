//! Makes objects.

use super::super::program::Op;
use super::object::{Object, Operation, Retry};
use super::python_side::PythonSide;
use super::template::Writer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyString, PyTuple};

/// A call that is made later, when it is executed.
///
/// Mars objects, `ExecutableTuple`\ s and Dask collections in the arguments, at any
/// depth of lists, tuples, sets, dicts, named tuples and dataclasses, are computed
/// first, and the function is given their values. The function may itself spawn,
/// execute and fetch; if it returns an object, the value of that counts.
///
/// Parameters
/// ----------
/// func : callable
///     What to call: a function, lambda, method, class or anything else callable.
/// args : tuple, default ()
///     Its arguments. Anything but a tuple is one argument.
/// kwargs : dict, optional
///     Its keyword arguments.
/// retry_when_fail : bool or int, default False
///     Call it again if it raises an `Exception`: True as often as the session says
///     (``new_session(retries=...)``), a number that often. The pause before each
///     attempt is twice the one before. Each failure is logged, the last one raised.
/// resolve_tileable_input : bool, default False
///     In Mars, whether tensors and dataframes arrive as values. Here everything
///     does: there are no others than Dask's, and these are always computed.
/// n_output : int, optional
///     The function returns an iterable of so many values, each of which becomes an
///     object of its own.
/// **kw
///     Nothing else is accepted.
///
/// Returns
/// -------
/// Object
///     Or with `n_output` an `ExecutableTuple` of as many.
///
/// Raises
/// ------
/// TypeError
///     `func` is not callable, `kwargs` is no dict, or an option has a wrong type.
/// ValueError
///     A keyword is not known, or `n_output` is below 1.
///
/// Notes
/// -----
/// The interface is that of ``mars.remote.spawn`` (Mars 0.10).
///
/// Examples
/// --------
/// >>> import mars.remote as mr
/// >>> def add(x, y):
/// ...     return x + y
/// >>> first = mr.spawn(add, args=(1, 2))
/// >>> mr.spawn(add, args=(first,), kwargs={"y": first}).execute().fetch()
/// 6
/// >>> quotient, rest = mr.spawn(divmod, args=(17, 5), n_output=2)
/// >>> rest.execute().fetch()
/// 2
#[pyfunction]
#[pyo3(
    signature = (func, args=None, kwargs=None, retry_when_fail=None, resolve_tileable_input=None, n_output=None, **kw),
    text_signature = "(func, args=(), kwargs=None, retry_when_fail=False, resolve_tileable_input=False, n_output=None, **kw)"
)]
#[allow(clippy::too_many_arguments)]
pub(crate) fn spawn<'py>(
    py: Python<'py>,
    func: &Bound<'py, PyAny>,
    args: Option<&Bound<'py, PyAny>>,
    kwargs: Option<&Bound<'py, PyAny>>,
    retry_when_fail: Option<&Bound<'py, PyAny>>,
    resolve_tileable_input: Option<&Bound<'py, PyAny>>,
    n_output: Option<&Bound<'py, PyAny>>,
    kw: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(kw) = kw
        && !kw.is_empty()
    {
        let names: Vec<_> = kw.keys().iter().map(|name| name.to_string()).collect();
        return Err(PyValueError::new_err(format!(
            "Unexpected kw: {}",
            names.join(", ")
        )));
    }
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
    let n_output = n_output.map(outputs).transpose()?;

    let mut writer = Writer::new(py);
    if n_output.is_some() {
        writer.constant(PythonSide::get(py)?.outputs.bind(py));
    }
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
    let Some(count) = n_output else {
        let template = writer.finish();
        let object = Object::new(Operation::RemoteFunction, retry, template, None, None);
        return Ok(Bound::new(py, object)?.into_any());
    };
    writer.constant(&PyInt::new(py, count));
    writer.emit(Op::Call(2));
    let all = Object::new(
        Operation::RemoteFunction,
        retry,
        writer.finish(),
        None,
        None,
    );
    each_output(&Bound::new(py, all)?, count)
}

/// An executable tuple of the outputs of one call, which runs once for all.
fn each_output<'py>(all: &Bound<'py, Object>, count: usize) -> PyResult<Bound<'py, PyAny>> {
    let py = all.py();
    let python_side = PythonSide::get(py)?;
    let log = (all.get())._keep_log(py, python_side.log.call0(py)?);
    let each = (0..count).map(|i| {
        let mut writer = Writer::new(py);
        writer.constant(python_side.item.bind(py));
        writer.dependency(all);
        writer.constant(&PyInt::new(py, i));
        writer.emit(Op::Call(2));
        let object = Object::new(
            Operation::RemoteFunction,
            Retry::Never,
            writer.finish(),
            Some(log.clone_ref(py)),
            None,
        );
        Bound::new(py, object)
    });
    let each = PyList::new(py, each.collect::<PyResult<Vec<_>>>()?)?;
    python_side.executable_tuple.bind(py).call1((each,))
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
        Err(_) => Err(PyTypeError::new_err(format!(
            "retry_when_fail has to be True, False or a number of attempts, not {}",
            value.repr()?
        ))),
    }
}

fn outputs(value: &Bound<'_, PyAny>) -> PyResult<usize> {
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
    let object = Object::new(
        Operation::RemoteFunction,
        Retry::Never,
        writer.finish(),
        None,
        None,
    );
    Bound::new(py, object).map(Some)
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
        writer.finish(),
        None,
        Some(collection.clone().unbind()),
    );
    Bound::new(py, object)
}
