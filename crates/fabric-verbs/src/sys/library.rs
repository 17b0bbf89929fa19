//! `libibverbs.so.1`, found at run time: one binary runs on machines with and without it.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::io;
use std::sync::OnceLock;

use libloading::Library;
use thiserror::Error;

use super::abi::*;

const LIBRARY: &str = "libibverbs.so.1";

/// libibverbs, loaded once for the life of the process.
///
/// Only set-up goes through here. Posting and polling go through the provider's own function pointers.
pub struct Verbs {
    pub(super) get_device_list: unsafe extern "C" fn(*mut c_int) -> *mut *mut ibv_device,
    pub(super) free_device_list: unsafe extern "C" fn(*mut *mut ibv_device),
    pub(super) get_device_name: unsafe extern "C" fn(*mut ibv_device) -> *const c_char,
    pub(super) open_device: unsafe extern "C" fn(*mut ibv_device) -> *mut ibv_context,
    pub(super) close_device: unsafe extern "C" fn(*mut ibv_context) -> c_int,
    pub(super) query_device: unsafe extern "C" fn(*mut ibv_context, *mut ibv_device_attr) -> c_int,
    pub(super) query_port: unsafe extern "C" fn(*mut ibv_context, u8, *mut ibv_port_attr) -> c_int,
    pub(super) query_gid: unsafe extern "C" fn(*mut ibv_context, u8, c_int, *mut ibv_gid) -> c_int,
    pub(super) get_async_event: unsafe extern "C" fn(*mut ibv_context, *mut ibv_async_event) -> c_int,
    pub(super) ack_async_event: unsafe extern "C" fn(*mut ibv_async_event),
    pub(super) event_type_str: unsafe extern "C" fn(c_uint) -> *const c_char,
    pub(super) alloc_pd: unsafe extern "C" fn(*mut ibv_context) -> *mut ibv_pd,
    pub(super) dealloc_pd: unsafe extern "C" fn(*mut ibv_pd) -> c_int,
    pub(super) reg_mr: unsafe extern "C" fn(*mut ibv_pd, *mut c_void, usize, c_int) -> *mut ibv_mr,
    pub(super) dereg_mr: unsafe extern "C" fn(*mut ibv_mr) -> c_int,
    pub(super) create_comp_channel: unsafe extern "C" fn(*mut ibv_context) -> *mut ibv_comp_channel,
    pub(super) destroy_comp_channel: unsafe extern "C" fn(*mut ibv_comp_channel) -> c_int,
    pub(super) create_cq: unsafe extern "C" fn(
        *mut ibv_context,
        c_int,
        *mut c_void,
        *mut ibv_comp_channel,
        c_int,
    ) -> *mut ibv_cq,
    pub(super) destroy_cq: unsafe extern "C" fn(*mut ibv_cq) -> c_int,
    pub(super) get_cq_event:
        unsafe extern "C" fn(*mut ibv_comp_channel, *mut *mut ibv_cq, *mut *mut c_void) -> c_int,
    pub(super) ack_cq_events: unsafe extern "C" fn(*mut ibv_cq, c_uint),
    pub(super) create_qp: unsafe extern "C" fn(*mut ibv_pd, *mut ibv_qp_init_attr) -> *mut ibv_qp,
    pub(super) modify_qp: unsafe extern "C" fn(*mut ibv_qp, *mut ibv_qp_attr, c_int) -> c_int,
    pub(super) query_qp:
        unsafe extern "C" fn(*mut ibv_qp, *mut ibv_qp_attr, c_int, *mut ibv_qp_init_attr) -> c_int,
    pub(super) destroy_qp: unsafe extern "C" fn(*mut ibv_qp) -> c_int,
    // Last: the pointers above are into it.
    _library: Library,
}

/// libibverbs cannot be used on this machine. The other fabrics still can.
#[derive(Clone, Debug, Error)]
pub enum NoVerbs {
    /// The library was not found, or the loader refused it.
    #[error(
        "{LIBRARY} could not be loaded ({reason}): install libibverbs1 and ibverbs-providers (Debian, Ubuntu) \
         or libibverbs and rdma-core (Fedora, RHEL, SUSE), or use another fabric"
    )]
    Library {
        /// What the dynamic loader said.
        reason: String,
    },
    /// The library is there, but too old or not libibverbs.
    #[error(
        "{LIBRARY} has no function {name}: it is too old or something else by that name; upgrade rdma-core"
    )]
    Symbol {
        /// The missing function.
        name: String,
    },
}

impl Verbs {
    /// The library; loads it the first time. A failure is remembered too: it needs a new package, and so a
    /// new process, to change.
    ///
    /// # Errors
    /// [`NoVerbs`] says what is missing and which package has it.
    pub fn load() -> Result<&'static Verbs, NoVerbs> {
        static VERBS: OnceLock<Result<Verbs, NoVerbs>> = OnceLock::new();
        VERBS.get_or_init(|| Verbs::open(LIBRARY)).as_ref().map_err(NoVerbs::clone)
    }

    fn open(file: &str) -> Result<Verbs, NoVerbs> {
        // SAFETY: loading runs the library's initialisers, and those of libibverbs and its dependencies
        // (libnl) only set up tables of their own.
        let library =
            unsafe { Library::new(file) }.map_err(|e| NoVerbs::Library { reason: e.to_string() })?;
        macro_rules! function {
            ($name:literal) => {{
                // SAFETY: the type asked for is that of the field the symbol is stored in, and each field
                // repeats the prototype of <infiniband/verbs.h>; `ibv_query_port` and `ibv_reg_mr` are
                // macros there, and the functions of that name take the same arguments. dlsym yields the
                // default version of a symbol, which is the one the header describes.
                let symbol = unsafe { library.get($name.to_bytes_with_nul()) };
                *symbol.map_err(|_| NoVerbs::Symbol { name: $name.to_string_lossy().into_owned() })?
            }};
        }
        Ok(Verbs {
            get_device_list: function!(c"ibv_get_device_list"),
            free_device_list: function!(c"ibv_free_device_list"),
            get_device_name: function!(c"ibv_get_device_name"),
            open_device: function!(c"ibv_open_device"),
            close_device: function!(c"ibv_close_device"),
            query_device: function!(c"ibv_query_device"),
            query_port: function!(c"ibv_query_port"),
            query_gid: function!(c"ibv_query_gid"),
            get_async_event: function!(c"ibv_get_async_event"),
            ack_async_event: function!(c"ibv_ack_async_event"),
            event_type_str: function!(c"ibv_event_type_str"),
            alloc_pd: function!(c"ibv_alloc_pd"),
            dealloc_pd: function!(c"ibv_dealloc_pd"),
            reg_mr: function!(c"ibv_reg_mr"),
            dereg_mr: function!(c"ibv_dereg_mr"),
            create_comp_channel: function!(c"ibv_create_comp_channel"),
            destroy_comp_channel: function!(c"ibv_destroy_comp_channel"),
            create_cq: function!(c"ibv_create_cq"),
            destroy_cq: function!(c"ibv_destroy_cq"),
            get_cq_event: function!(c"ibv_get_cq_event"),
            ack_cq_events: function!(c"ibv_ack_cq_events"),
            create_qp: function!(c"ibv_create_qp"),
            modify_qp: function!(c"ibv_modify_qp"),
            query_qp: function!(c"ibv_query_qp"),
            destroy_qp: function!(c"ibv_destroy_qp"),
            _library: library,
        })
    }

    /// Names of the devices that the kernel offers and the library has a provider for.
    ///
    /// # Errors
    /// The list could not be read; no device at all is an empty list.
    pub fn device_names(&'static self) -> Result<Vec<String>, CallError> {
        let list = self.devices()?;
        Ok(list.iter().map(|device| self.name_of(device)).collect())
    }

    pub(super) fn devices(&'static self) -> Result<DeviceList, CallError> {
        let mut count = 0;
        // SAFETY: the argument is a valid place for the count.
        let first = unsafe { (self.get_device_list)(&mut count) };
        if first.is_null() {
            let error = io::Error::last_os_error();
            // Without the kernel's verbs modules there is nothing to list, which is an answer, not a failure.
            if error.raw_os_error() == Some(rustix::io::Errno::NOSYS.raw_os_error()) {
                return Ok(DeviceList { verbs: self, first, count: 0 });
            }
            return Err(CallError::new("ibv_get_device_list", error));
        }
        Ok(DeviceList { verbs: self, first, count: usize::try_from(count).unwrap_or(0) })
    }

    pub(super) fn name_of(&self, device: *mut ibv_device) -> String {
        // SAFETY: `device` comes from a `DeviceList` that is still alive; the name is a field of it, and
        // terminated.
        let name = unsafe { CStr::from_ptr((self.get_device_name)(device)) };
        name.to_string_lossy().into_owned()
    }
}

impl fmt::Debug for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LIBRARY)
    }
}

/// The library's array of devices, freed on drop. An opened context keeps its device alive by itself.
pub(super) struct DeviceList {
    verbs: &'static Verbs,
    first: *mut *mut ibv_device,
    count: usize,
}

impl DeviceList {
    pub(super) fn iter(&self) -> impl Iterator<Item = *mut ibv_device> {
        // SAFETY: the library gave `count` entries at `first`, and keeps them until the list is freed.
        (0..self.count).map(|at| unsafe { *self.first.add(at) })
    }
}

impl Drop for DeviceList {
    fn drop(&mut self) {
        if !self.first.is_null() {
            // SAFETY: `first` is a list of the library's, freed once.
            unsafe { (self.verbs.free_device_list)(self.first) }
        }
    }
}

/// A call into libibverbs failed.
#[derive(Debug, Error)]
#[error("{call} failed: {source}{}", advice(call, source))]
pub struct CallError {
    /// The function of the library.
    pub call: &'static str,
    /// The system's reason.
    pub source: io::Error,
}

impl CallError {
    pub(super) fn new(call: &'static str, source: io::Error) -> CallError {
        CallError { call, source }
    }

    /// For the calls that return a null pointer and leave the reason in `errno`.
    pub(super) fn last(call: &'static str) -> CallError {
        CallError::new(call, io::Error::last_os_error())
    }

    /// For the calls that return 0, or the reason itself, or (older providers) -1 and leave it in `errno`.
    pub(super) fn check(call: &'static str, returned: c_int) -> Result<(), CallError> {
        match returned {
            0 => Ok(()),
            1.. => Err(CallError::new(call, io::Error::from_raw_os_error(returned))),
            _ => Err(CallError::last(call)),
        }
    }
}

fn advice(call: &str, source: &io::Error) -> &'static str {
    match (call, source.kind()) {
        ("ibv_open_device", io::ErrorKind::PermissionDenied) => {
            "; this user may not open /dev/infiniband/uverbs*: add it to the group that owns the file (often rdma)"
        }
        ("ibv_reg_mr", io::ErrorKind::OutOfMemory) => {
            "; the limit on locked memory is the usual reason: raise it with ulimit -l, LimitMEMLOCK= or --ulimit memlock="
        }
        ("ibv_create_qp", io::ErrorKind::InvalidInput) => {
            "; the device refuses queues of this depth, or so many scatter entries, or inline data of this size"
        }
        ("ibv_create_qp" | "ibv_create_cq" | "ibv_alloc_pd", io::ErrorKind::OutOfMemory) => {
            "; the device has no more of these, or the limit on locked memory was reached (ulimit -l)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_library_names_the_package() {
        let said = Verbs::open("libibverbs-that-is-not-there.so.1").expect_err("absent").to_string();
        assert!(said.contains("libibverbs1"), "{said}");
        assert!(said.contains("ibverbs-providers"), "{said}");
        assert!(said.contains("another fabric"), "{said}");
    }

    #[test]
    fn a_library_without_verbs_names_the_function() {
        let said = Verbs::open("libc.so.6").expect_err("not libibverbs").to_string();
        assert!(said.contains("ibv_get_device_list"), "{said}");
    }

    #[test]
    fn return_values_of_three_conventions_become_errors() {
        assert!(CallError::check("ibv_modify_qp", 0).is_ok());
        let told = CallError::check("ibv_modify_qp", 22).expect_err("EINVAL");
        assert_eq!(told.source.raw_os_error(), Some(22));
        assert!(CallError::check("ibv_modify_qp", -1).is_err());
    }

    #[test]
    fn registration_without_memory_advises_on_the_limit() {
        let error = CallError::new("ibv_reg_mr", io::Error::from_raw_os_error(12));
        assert!(error.to_string().contains("ulimit -l"), "{error}");
    }
}
