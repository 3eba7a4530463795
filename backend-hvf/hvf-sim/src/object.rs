//! Objects that `hv_*_create` returns and `os_release` takes back. Their pointers are numbers that nobody follows.

use std::{
    collections::HashMap,
    ffi::c_void,
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    error::{Error, Result},
    gic::Configuration,
};

/// What there is.
#[derive(Debug, Clone)]
pub(crate) enum Object {
    Vm { address_bits: u32 },
    Vcpu,
    Gic(Configuration),
    GicState(Vec<u8>),
}

static OBJECTS: Mutex<Option<Objects>> = Mutex::new(None);

#[derive(Default)]
struct Objects {
    live: HashMap<usize, Object>,
    made: usize,
}

fn objects() -> MutexGuard<'static, Option<Objects>> {
    OBJECTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new object, with one reference.
pub(crate) fn create(object: Object) -> *mut c_void {
    let mut objects = objects();
    let objects = objects.get_or_insert_default();
    objects.made += 1;
    // Apart as allocations are, and never used again.
    let address = objects.made * 64;
    objects.live.insert(address, object);
    ptr::without_provenance_mut(address)
}

/// A copy of the object.
pub(crate) fn read(object: *const c_void) -> Result<Object> {
    let objects = objects();
    objects.as_ref().and_then(|objects| objects.live.get(&object.addr())).cloned().ok_or(Error::BadArgument)
}

/// Changes the object.
pub(crate) fn change<T>(object: *const c_void, change: impl FnOnce(&mut Object) -> Result<T>) -> Result<T> {
    let mut objects = objects();
    let object = objects.as_mut().and_then(|objects| objects.live.get_mut(&object.addr()));
    object.ok_or(Error::BadArgument).and_then(change)
}

/// Gives the reference back. False if there is no such object (any more).
pub(crate) fn release(object: *const c_void) -> bool {
    objects().as_mut().is_some_and(|objects| objects.live.remove(&object.addr()).is_some())
}
