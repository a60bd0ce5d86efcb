//! The cores that a run may use: how kernels share their work among them, and how work is kept on one.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use rayon::iter::MinLen;
use rayon::prelude::*;

/// Elements that are worth a task of their own; less runs on the calling thread.
pub(super) const GRAIN: usize = 1 << 14;

/// How many items make up a task, for items of `work` elements each.
pub(super) fn grain(work: usize) -> usize {
    (GRAIN / work.max(1)).max(1)
}

thread_local! {
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Whether what this thread does stays on it.
pub(super) fn alone() -> bool {
    ALONE.get()
}

/// Does `work` on this thread alone: no kernel within shares any of it.
pub(super) fn on_this_core<R>(work: impl FnOnce() -> R) -> R {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _before = Before(ALONE.replace(true));
    work()
}

/// Items whose work is shared among the cores.
pub(super) trait Spread: IndexedParallelIterator {
    /// Tasks of at least so many items; one task of them all where work stays on this thread.
    fn spread(self, least: usize) -> MinLen<Self> {
        self.with_min_len(if alone() { usize::MAX } else { least })
    }
}

impl<I: IndexedParallelIterator> Spread for I {}

/// Does `work` with each item, in their order; where `parallel`, all cores take items as they come to need them, unless
/// work stays on this thread.
pub(super) fn for_each<T: Send>(
    items: impl Iterator<Item = T> + Send,
    parallel: bool,
    work: impl Fn(T) + Sync,
) {
    if !parallel || alone() {
        return items.for_each(work);
    }
    let items = Mutex::new(items);
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let drain = || {
        while let Some(item) = next() {
            work(item);
        }
    };
    (0..rayon::current_num_threads()).into_par_iter().for_each(|_| drain());
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// The threads that do 64 items between them, which `share` hands to the work it is given.
    fn threads(share: impl FnOnce(&(dyn Fn(usize) + Sync))) -> HashSet<thread::ThreadId> {
        let done = Mutex::new(Vec::new());
        share(&|item| {
            thread::sleep(Duration::from_millis(1));
            done.lock().unwrap().push((item, thread::current().id()));
        });
        let done = done.into_inner().unwrap();
        assert_eq!(done.iter().map(|(item, _)| item).collect::<HashSet<_>>().len(), 64);
        done.into_iter().map(|(_, thread)| thread).collect()
    }

    fn drained(parallel: bool) -> HashSet<thread::ThreadId> {
        threads(|work| for_each(0..64, parallel, work))
    }

    fn spread() -> HashSet<thread::ThreadId> {
        threads(|work| (0..64).into_par_iter().spread(1).for_each(work))
    }

    #[test]
    fn work_is_shared_where_asked() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        assert_eq!(pool.install(|| drained(true)).len(), 2);
        assert_eq!(pool.install(|| drained(false)).len(), 1);
        assert_eq!(pool.install(spread).len(), 2);
    }

    #[test]
    fn work_that_stays_on_a_core_is_not_shared_until_it_is_done() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| {
            let here = HashSet::from([thread::current().id()]);
            on_this_core(|| {
                assert_eq!((drained(true), spread()), (here.clone(), here.clone()));
                on_this_core(|| ());
                assert_eq!((drained(true), spread()), (here.clone(), here));
            });
            let failed = std::panic::catch_unwind(|| on_this_core(|| panic!("on purpose")));
            assert!(failed.is_err());
            assert_eq!((drained(true).len(), spread().len()), (2, 2));
        });
    }
}
