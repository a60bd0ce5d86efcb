//! Which values can share memory: a value needs its bytes from the step that writes it to the last step that reads it.

use std::cmp::Reverse;

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

/// Numbers for trying things out, the same each time: Knuth's MMIX generator.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// Assigns slots, so that their sizes together are small: the largest value first, each to a slot that is free while it
/// lives. Which of several free ones is tried out: the smallest; the one that is idle for the shortest time before and
/// after; and, while that leaves more than [`slots_bound`], any, in a number of rounds that always draw the same.
pub(crate) fn assign(lifetimes: &[Lifetime]) -> Slots {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&i| (Reverse(lifetimes[i].size), lifetimes[i].first));
    let total = |slots: &Slots| slots.sizes.iter().sum::<usize>();
    let idle = |i: usize, tenants: &[usize]| {
        let (own, others) = (&lifetimes[i], || tenants.iter().map(|&j| &lifetimes[j]));
        let before = others().filter(|l| l.last < own.first).map(|l| own.first - l.last).min();
        let after = others().filter(|l| l.first > own.last).map(|l| l.first - own.last).min();
        before.unwrap_or(0) + after.unwrap_or(0)
    };
    // Slots are made in order of falling size, so the last free one is the smallest.
    let smallest = assign_by(&order, lifetimes, |_, free| free.len() - 1);
    let tightest = assign_by(&order, lifetimes, |i, free| {
        let gap = |&at: &usize| idle(i, free[at].1);
        (0..free.len()).rev().min_by_key(gap).unwrap_or(0)
    });
    let mut best = if total(&tightest) < total(&smallest) { tightest } else { smallest };
    let bound = slots_bound(lifetimes);
    // The more values, the fewer rounds, for each takes time by their square.
    let rounds = (1 << 22) / (lifetimes.len() * lifetimes.len()).max(1 << 13);
    let mut draws = Draws(1);
    for _ in 0..rounds {
        if total(&best) <= bound {
            break;
        }
        let drawn = assign_by(&order, lifetimes, |_, free| draws.below(free.len()));
        if total(&drawn) < total(&best) {
            best = drawn;
        }
    }
    best
}

/// Assigns slots to values in this order, where `choose` picks one of the free slots and their tenants.
fn assign_by(
    order: &[usize],
    lifetimes: &[Lifetime],
    mut choose: impl FnMut(usize, &[(usize, &[usize])]) -> usize,
) -> Slots {
    let mut slots = Slots { of: vec![0; lifetimes.len()], sizes: Vec::new() };
    let mut tenants: Vec<Vec<usize>> = Vec::new();
    for &i in order {
        let is_free = |tenants: &[usize]| !tenants.iter().any(|&j| lifetimes[i].overlaps(&lifetimes[j]));
        let all = tenants.iter().map(Vec::as_slice).enumerate();
        let free: Vec<_> = all.filter(|(_, tenants)| is_free(tenants)).collect();
        let slot = if free.is_empty() { tenants.len() } else { free[choose(i, &free)].0 };
        if slot == tenants.len() {
            tenants.push(Vec::new());
            slots.sizes.push(lifetimes[i].size);
        }
        tenants[slot].push(i);
        slots.of[i] = slot;
    }
    slots
}

/// What slots need together at least: for each k, the largest that the k-th largest of what is alive at one step gets.
pub(crate) fn slots_bound(lifetimes: &[Lifetime]) -> usize {
    let mut most: Vec<usize> = Vec::new();
    for step in lifetimes.iter().map(|l| l.first) {
        let alive = lifetimes.iter().filter(|l| l.first <= step && step <= l.last);
        let mut sizes: Vec<usize> = alive.map(|l| l.size).collect();
        sizes.sort_unstable_by_key(|&size| Reverse(size));
        most.resize(most.len().max(sizes.len()), 0);
        most.iter_mut().zip(sizes).for_each(|(most, size)| *most = size.max(*most));
    }
    most.into_iter().sum()
}

/// Where each value lies in one arena.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arena {
    /// For each value, where it begins.
    pub offsets: Vec<usize>,
    /// The size of the arena.
    pub size: usize,
}

/// Places values in one arena, at multiples of `align`: one after another in each of some orders, each at the start of the
/// smallest gap that it fits between those that live when it does (Pisarchyk and Lee, *Efficient Memory Management for
/// Deep Neural Net Inference*, 2020). From the order that needs the least, rounds follow in which what ended highest is
/// placed earlier (Joslin and Clements, *"Squeaky Wheel" Optimization*, 1999); the best of all is kept.
pub(crate) fn place(lifetimes: &[Lifetime], align: usize) -> Arena {
    let span = |l: &Lifetime| l.last - l.first;
    let by_size = |l: &Lifetime| (Reverse(l.size), Reverse(span(l)), l.first);
    let by_area = |l: &Lifetime| (Reverse(l.size * (1 + span(l))), Reverse(l.size), l.first);
    let by_span = |l: &Lifetime| (Reverse(span(l)), Reverse(l.size), l.first);
    let mut orders = [0; 3].map(|_| (0..lifetimes.len()).collect::<Vec<_>>());
    orders[0].sort_by_key(|&i| by_size(&lifetimes[i]));
    orders[1].sort_by_key(|&i| by_area(&lifetimes[i]));
    orders[2].sort_by_key(|&i| by_span(&lifetimes[i]));
    let arenas = orders.into_iter().map(|order| (place_in(&order, lifetimes, align), order));
    let Some((mut best, mut order)) = arenas.min_by_key(|(arena, _)| arena.size) else {
        return Arena::default();
    };
    let (least, mut arena) = (lower_bound(lifetimes), best.clone());
    // The more values, the fewer rounds, for each takes time by their square.
    let rounds = (1 << 22) / (lifetimes.len() * lifetimes.len()).max(1 << 13);
    for _ in 0..rounds {
        if best.size <= least {
            break;
        }
        let highest = |&i: &usize| arena.offsets[i] + lifetimes[i].size == arena.size;
        for at in (0..order.len()).filter(|&at| highest(&order[at])).collect::<Vec<_>>() {
            order[at / 2..=at].rotate_right(1);
        }
        arena = place_in(&order, lifetimes, align);
        if arena.size < best.size {
            best = arena.clone();
        }
    }
    best
}

fn place_in(order: &[usize], lifetimes: &[Lifetime], align: usize) -> Arena {
    let mut arena = Arena { offsets: vec![0; lifetimes.len()], size: 0 };
    // Those placed so far, by where they begin.
    let mut placed: Vec<usize> = Vec::new();
    for &i in order.iter().filter(|&&i| lifetimes[i].size > 0) {
        let size = lifetimes[i].size;
        let alive = placed.iter().filter(|&&j| lifetimes[i].overlaps(&lifetimes[j]));
        let offset = gap(size, alive.map(|&j| (arena.offsets[j], lifetimes[j].size)), align);
        arena.offsets[i] = offset;
        arena.size = arena.size.max(offset + size);
        placed.insert(placed.partition_point(|&j| arena.offsets[j] <= offset), i);
    }
    arena
}

/// Where each value lies in several arenas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arenas {
    /// For each value, its arena and where it begins there.
    pub of: Vec<(usize, usize)>,
    /// The sizes of the arenas.
    pub sizes: Vec<usize>,
}

impl Arenas {
    fn total(&self) -> usize {
        self.sizes.iter().sum()
    }
}

/// As [`place`], in as many arenas as it takes to keep values from sharing one that live at once and of which each names
/// the other in `apart`: what one dispatch reads and what it writes, which WebGPU forbids to be parts of one buffer. The
/// largest value is placed first, each where its arena grows least; which of several such places, and now and then any
/// place, is tried out in a number of rounds that always draw the same. It never takes more than [`assign`].
pub(crate) fn place_apart(lifetimes: &[Lifetime], apart: &[Vec<usize>], align: usize) -> Arenas {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&i| (Reverse(lifetimes[i].size), lifetimes[i].first));
    let mut draws = Draws(1);
    // An arena of values that are never alive at the same step is a slot.
    let slots = assign(lifetimes);
    let mut best = Arenas { of: slots.of.into_iter().map(|slot| (slot, 0)).collect(), sizes: slots.sizes };
    let least = lower_bound(lifetimes);
    // The more values, the fewer rounds, for each takes time by their square.
    let rounds = (1 << 23) / (lifetimes.len() * lifetimes.len()).max(1 << 13);
    for _ in 0..rounds {
        if best.total() <= least {
            break;
        }
        let drawn = place_apart_by(&order, lifetimes, apart, align, |growths| {
            let any = draws.below(8) == 0;
            let count = growths.iter().filter(|&&growth| any || growth == growths[0]).count();
            draws.below(count)
        });
        if drawn.total() < best.total() {
            best = drawn;
        }
    }
    best
}

/// Places values in this order, where `choose` picks a place by how much each makes its arena grow, in rising order.
fn place_apart_by(
    order: &[usize],
    lifetimes: &[Lifetime],
    apart: &[Vec<usize>],
    align: usize,
    mut choose: impl FnMut(&[usize]) -> usize,
) -> Arenas {
    let mut arenas = Arenas { of: vec![(usize::MAX, 0); lifetimes.len()], sizes: Vec::new() };
    // Those placed so far in each arena, by where they begin.
    let mut placed: Vec<Vec<usize>> = Vec::new();
    for &i in order {
        let size = lifetimes[i].size;
        let mut places = vec![(size, placed.len(), 0)];
        for (arena, tenants) in placed.iter().enumerate() {
            if apart[i].iter().all(|&j| arenas.of[j].0 != arena) {
                let alive = tenants.iter().filter(|&&j| lifetimes[i].overlaps(&lifetimes[j]));
                let taken = alive.map(|&j| (arenas.of[j].1, lifetimes[j].size));
                let offset = gap(size, taken, align);
                places.push(((offset + size).saturating_sub(arenas.sizes[arena]), arena, offset));
            }
        }
        places.sort_unstable();
        let growths: Vec<_> = places.iter().map(|&(growth, ..)| growth).collect();
        let (growth, arena, offset) = places[choose(&growths)];
        if arena == placed.len() {
            placed.push(Vec::new());
            arenas.sizes.push(0);
        }
        arenas.sizes[arena] += growth;
        let at = placed[arena].partition_point(|&j| arenas.of[j].1 <= offset);
        placed[arena].insert(at, i);
        arenas.of[i] = (arena, offset);
    }
    arenas
}

/// Where so much fits in the smallest gap between what is taken, offsets and sizes in the order of offsets; else behind
/// all of it.
fn gap(size: usize, taken: impl Iterator<Item = (usize, usize)>, align: usize) -> usize {
    let (mut end, mut best) = (0, None);
    for (offset, taken) in taken {
        let gap = offset.saturating_sub(end);
        if gap >= size && best.is_none_or(|(smallest, _)| gap < smallest) {
            best = Some((gap, end));
        }
        end = end.max((offset + taken).next_multiple_of(align));
    }
    best.map_or(end, |(_, offset)| offset)
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

    /// Lifetimes of all sorts, from a simple recurrence.
    fn scattered(seed: usize) -> Vec<Lifetime> {
        let mut state = seed;
        let mut next = |below: usize| {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            (state >> 8) % below
        };
        let lifetime = |_| {
            let first = next(30);
            Lifetime { first, last: first + next(6), size: next(50) }
        };
        (0..40).map(lifetime).collect()
    }

    #[test]
    fn an_arena_keeps_apart_what_is_alive_at_once() {
        for (seed, align) in [(1, 1), (2, 1), (3, 16), (4, 16)] {
            let lifetimes = scattered(seed);
            let Arena { offsets, size } = place(&lifetimes, align);
            assert!(size >= lower_bound(&lifetimes));
            for (i, a) in lifetimes.iter().enumerate() {
                assert!(offsets[i] % align == 0 && offsets[i] + a.size <= size);
                for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                    let apart = offsets[i] + a.size <= offsets[j] || offsets[j] + b.size <= offsets[i];
                    assert!(apart || !a.overlaps(b) || a.size == 0 || b.size == 0, "{i} and {j}");
                }
            }
        }
    }

    #[test]
    fn an_arena_is_as_small_as_what_is_alive_at_once() {
        let lifetimes = chain(&[100, 80, 60, 40, 20, 90, 10]);
        assert_eq!(place(&lifetimes, 1).size, lower_bound(&lifetimes));
        assert_eq!(place(&[], 16), Arena::default());
    }

    /// Each value has to be apart from the one before it and the one behind it, where they live at once.
    fn neighbours(lifetimes: &[Lifetime]) -> Vec<Vec<usize>> {
        let are_apart = |i: usize, j: usize| i.abs_diff(j) == 1 && lifetimes[i].overlaps(&lifetimes[j]);
        let all = || 0..lifetimes.len();
        all().map(|i| all().filter(|&j| are_apart(i, j)).collect()).collect()
    }

    #[test]
    fn arenas_keep_apart_what_may_not_share_one() {
        for (seed, align) in [(1, 1), (2, 1), (3, 16), (4, 16)] {
            let lifetimes = scattered(seed);
            let apart = neighbours(&lifetimes);
            let arenas = place_apart(&lifetimes, &apart, align);
            assert!(arenas.total() >= lower_bound(&lifetimes));
            assert!(arenas.total() <= assign(&lifetimes).sizes.iter().sum());
            for (i, a) in lifetimes.iter().enumerate() {
                let (arena, offset) = arenas.of[i];
                assert!(offset % align == 0 && offset + a.size <= arenas.sizes[arena]);
                for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                    let (other, other_offset) = arenas.of[j];
                    let is_apart = offset + a.size <= other_offset || other_offset + b.size <= offset;
                    assert!(arena != other || is_apart || !a.overlaps(b) || a.size == 0 || b.size == 0);
                    assert!(arena != other || !apart[i].contains(&j), "{i} and {j}");
                }
            }
            assert_eq!(place_apart(&lifetimes, &apart, align), arenas);
        }
        assert_eq!(place_apart(&[], &[], 16), Arenas::default());
    }

    #[test]
    fn a_chain_takes_turns_in_two_arenas() {
        let lifetimes = chain(&[100, 80, 60, 40, 20, 90, 10]);
        let arenas = place_apart(&lifetimes, &neighbours(&lifetimes), 1);
        assert_eq!(arenas.sizes, [100, 90]);
    }

    #[test]
    fn slots_keep_apart_what_is_alive_at_once() {
        for seed in 1..5 {
            let lifetimes = scattered(seed);
            let slots = assign(&lifetimes);
            assert!(slots.sizes.iter().sum::<usize>() >= slots_bound(&lifetimes));
            assert!(slots_bound(&lifetimes) >= lower_bound(&lifetimes));
            for (i, a) in lifetimes.iter().enumerate() {
                assert!(slots.sizes[slots.of[i]] >= a.size);
                for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                    assert!(slots.of[i] != slots.of[j] || !a.overlaps(b), "{i} and {j}");
                }
            }
            assert_eq!(assign(&lifetimes), slots);
        }
    }

    #[test]
    fn the_smallest_free_slot_is_not_always_the_right_one() {
        let lifetime = |first, last, size| Lifetime { first, last, size };
        // The second of 5 must not take the slot that is free for a shorter time, which the third would need.
        let lifetimes = [
            lifetime(0, 3, 10),
            lifetime(5, 9, 9),
            lifetime(0, 1, 9),
            lifetime(3, 4, 5),
            lifetime(4, 4, 5),
            lifetime(2, 2, 5),
        ];
        assert_eq!(assign(&lifetimes).sizes.iter().sum::<usize>(), slots_bound(&lifetimes));
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
