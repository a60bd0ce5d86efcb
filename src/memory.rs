//! Which values can share memory: a value needs its bytes from the step that writes it to the last step that reads it.

/// When a value is alive, in steps, both ends included, and how large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub first: usize,
    pub last: usize,
    pub size: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Which slot each value lives in. Values of one slot are never alive at the same step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    /// For each value, its slot.
    pub of: Vec<usize>,
    /// The sizes of the slots.
    pub sizes: Vec<usize>,
}

/// Assigns slots: the largest value first, each to the smallest slot that is free while it lives.
///
/// Slots are whole buffers rather than ranges of one, because WebGPU forbids a buffer to be read and written in one
/// dispatch even on disjoint ranges.
pub(crate) fn assign(lifetimes: &[Lifetime]) -> Slots {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lifetimes[i].size), lifetimes[i].first));
    let mut slots = Slots { of: vec![0; lifetimes.len()], sizes: Vec::new() };
    let mut tenants: Vec<Vec<usize>> = Vec::new();
    for i in order {
        // Slots were made in order of falling size, so the last free one is the smallest.
        let free = (0..tenants.len())
            .rev()
            .find(|&slot| !tenants[slot].iter().any(|&j| lifetimes[i].overlaps(&lifetimes[j])));
        let slot = free.unwrap_or_else(|| {
            tenants.push(Vec::new());
            slots.sizes.push(lifetimes[i].size);
            tenants.len() - 1
        });
        tenants[slot].push(i);
        slots.of[i] = slot;
    }
    slots
}

/// The most that is alive at one step: no assignment can do with less.
pub(crate) fn lower_bound(lifetimes: &[Lifetime]) -> usize {
    lifetimes
        .iter()
        .map(|at| {
            let step = at.first;
            lifetimes.iter().filter(|l| l.first <= step && step <= l.last).map(|l| l.size).sum()
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(sizes: &[usize]) -> Vec<Lifetime> {
        sizes.iter().enumerate().map(|(i, &size)| Lifetime { first: i, last: i + 1, size }).collect()
    }

    #[test]
    fn a_chain_needs_two_slots() {
        let lifetimes = chain(&[100, 80, 60, 40, 20]);
        let slots = assign(&lifetimes);
        assert_eq!(slots.sizes, [100, 80]);
        assert_eq!(lower_bound(&lifetimes), 180);
    }

    #[test]
    fn a_residual_keeps_its_slot() {
        let mut lifetimes = chain(&[10, 10, 10, 10]);
        lifetimes[0].last = 3;
        let slots = assign(&lifetimes);
        for (i, a) in lifetimes.iter().enumerate() {
            for (j, b) in lifetimes.iter().enumerate() {
                assert!(i == j || slots.of[i] != slots.of[j] || !a.overlaps(b), "{i} and {j}");
            }
        }
        assert_eq!(slots.sizes.iter().sum::<usize>(), 30);
    }
}
