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

/// What one step reads and what it writes, by the numbers of the values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub reads: Vec<usize>,
    pub writes: Vec<usize>,
}

impl Access {
    /// Whether it may mix: WebGPU lets a dispatch read one part of a buffer and write another if it declares both writable,
    /// and what is writable may be bound only once.
    fn may_mix(&self) -> bool {
        let mut all: Vec<_> = self.reads.iter().chain(&self.writes).collect();
        all.sort_unstable();
        all.windows(2).all(|pair| pair[0] != pair[1])
    }
}

/// As [`place`], in several arenas of at most `largest`: a step that reads and writes parts of one arena *mixes*, which
/// costs. None mixes where all takes no more than `enough` without it; else as few as were found for that, and only those
/// that may. It never takes more than [`assign`]. No value may be of size 0, or larger than an arena.
pub(crate) fn place_apart(
    lifetimes: &[Lifetime],
    accesses: &[Access],
    enough: usize,
    largest: usize,
    align: usize,
) -> Arenas {
    let placer = Placer::new(lifetimes, accesses, largest, align);
    let never = vec![false; accesses.len()];
    let may_mix: Vec<_> = accesses.iter().map(Access::may_mix).collect();
    let start = [placer.slots(), placer.apart()].into_iter().min_by_key(Placed::total);
    let mut best = placer.improve(start.unwrap_or_else(|| placer.empty()), 0, &never);
    if best.total() > enough {
        best = placer.improve(best, enough, &may_mix);
    }
    if best.total() > enough {
        // From the other end.
        let mixed = placer.improve(placer.together(&may_mix), enough, &may_mix);
        best = if mixed.total() < best.total() { mixed } else { best };
    }
    best.into_arenas()
}

/// A placement that is being made.
#[derive(Clone)]
struct Placed {
    /// For each value that has been placed, its arena and where it begins there.
    of: Vec<Option<(usize, usize)>>,
    sizes: Vec<usize>,
    /// Which accesses mix.
    mixing: Vec<bool>,
}

impl Placed {
    fn total(&self) -> usize {
        self.sizes.iter().sum()
    }

    /// The arenas that something is in.
    fn into_arenas(self) -> Arenas {
        let mut count = 0;
        let mut number = |&size: &usize| {
            count += usize::from(size > 0);
            count - usize::from(size > 0)
        };
        let numbers: Vec<_> = self.sizes.iter().map(&mut number).collect();
        let renumbered = |(arena, offset): (usize, usize)| (numbers[arena], offset);
        let of = self.of.into_iter().flatten().map(renumbered).collect();
        Arenas { of, sizes: self.sizes.into_iter().filter(|&size| size > 0).collect() }
    }

    fn mixing_count(&self) -> usize {
        self.mixing.iter().filter(|&&mixes| mixes).count()
    }

    fn is_in(&self, value: usize, arena: usize) -> bool {
        self.of[value].is_some_and(|(of, _)| of == arena)
    }
}

/// What [`place_apart`] finds placements with: from one, a few values that are written near each other are taken out and put
/// back where that costs least, one after another, in a number of rounds that always draw the same; what is no worse is
/// kept (Shaw, *Using Constraint Programming and Local Search Methods to Solve Vehicle Routing Problems*, 1998).
struct Placer<'a> {
    lifetimes: &'a [Lifetime],
    accesses: &'a [Access],
    largest: usize,
    align: usize,
    /// The most that is alive at one step.
    least: usize,
    steps: usize,
    /// For each value, the accesses by which another is read where it is written, or written where it is read, and that
    /// other.
    others: Vec<Vec<(usize, usize)>>,
}

impl<'a> Placer<'a> {
    fn new(lifetimes: &'a [Lifetime], accesses: &'a [Access], largest: usize, align: usize) -> Self {
        let mut others = vec![Vec::new(); lifetimes.len()];
        for (i, access) in accesses.iter().enumerate() {
            for &read in &access.reads {
                for &written in &access.writes {
                    others[read].push((i, written));
                    others[written].push((i, read));
                }
            }
        }
        let steps = lifetimes.iter().map(|l| l.last + 1).max().unwrap_or(0);
        Placer { lifetimes, accesses, largest, align, least: lower_bound(lifetimes), steps, others }
    }

    fn empty(&self) -> Placed {
        let of = vec![None; self.lifetimes.len()];
        Placed { of, sizes: Vec::new(), mixing: vec![false; self.accesses.len()] }
    }

    /// An arena of values that are never alive at the same step is a slot.
    fn slots(&self) -> Placed {
        let Slots { of, sizes } = assign(self.lifetimes);
        Placed { of: of.into_iter().map(|slot| Some((slot, 0))).collect(), sizes, ..self.empty() }
    }

    /// One after another, the largest first, so that none mixes.
    fn apart(&self) -> Placed {
        let mut order: Vec<usize> = (0..self.lifetimes.len()).collect();
        order.sort_by_key(|&i| (Reverse(self.lifetimes[i].size), self.lifetimes[i].first));
        let (mut placed, mut draws) = (self.empty(), Draws(1));
        let never = placed.mixing.clone();
        order.into_iter().for_each(|i| self.put(i, &mut placed, &never, 0, &mut draws));
        placed
    }

    /// All in one arena, but for what does not fit there and what accesses write that may not mix.
    fn together(&self, may_mix: &[bool]) -> Placed {
        let Arena { offsets, size } = place(self.lifetimes, self.align);
        let of = offsets.iter().map(|&offset| Some((0, offset))).collect();
        let mixes = |(access, may_mix): (&Access, &bool)| {
            *may_mix && !access.reads.is_empty() && !access.writes.is_empty()
        };
        let mixing = self.accesses.iter().zip(may_mix).map(mixes).collect();
        let mut placed = Placed { of, sizes: vec![size], mixing };
        let strict = self.accesses.iter().zip(may_mix).filter(|(_, may_mix)| !**may_mix);
        let written = strict.flat_map(|(access, _)| access.writes.iter().copied());
        let is_past = |&i: &usize| offsets[i] + self.lifetimes[i].size > self.largest;
        let mut moved: Vec<_> = (0..self.lifetimes.len()).filter(is_past).chain(written).collect();
        moved.sort_unstable();
        moved.dedup();
        self.take(&moved, &mut placed);
        let mut draws = Draws(1);
        moved.into_iter().for_each(|i| self.put(i, &mut placed, may_mix, 0, &mut draws));
        placed
    }

    /// Smaller is better. While all takes more than enough, the fewer values keep an arena from being smaller, the better:
    /// several may have to move before any is.
    fn rank(&self, placed: &Placed, enough: usize) -> (usize, usize, usize) {
        let (total, mixing) = (placed.total(), placed.mixing_count());
        if total <= enough {
            return (enough, mixing, total);
        }
        let ends = placed.of.iter().zip(self.lifetimes).filter_map(|(of, l)| Some((of.as_ref()?, l.size)));
        let topmost = ends.filter(|((arena, offset), size)| offset + size == placed.sizes[*arena]).count();
        (total, topmost, mixing)
    }

    /// The best that was found from here on, where only these may mix.
    fn improve(&self, mut best: Placed, enough: usize, may_mix: &[bool]) -> Placed {
        let mut draws = Draws(1);
        // The more values, the fewer rounds.
        let rounds = (1 << 19) / self.lifetimes.len().max(1 << 8);
        let mut rank = self.rank(&best, enough);
        for _ in 0..rounds {
            // One has to mix, or this would not have been asked for.
            if best.total() <= self.least.max(enough) && best.mixing_count() <= 1 {
                break;
            }
            let first = draws.below(self.steps);
            let last = first + draws.below(8);
            let is_written = |&i: &usize| (first..=last).contains(&self.lifetimes[i].first);
            let mut taken: Vec<usize> = (0..self.lifetimes.len()).filter(is_written).collect();
            for at in (1..taken.len()).rev() {
                taken.swap(at, draws.below(at + 1));
            }
            let price = self.least >> draws.below(16);
            let mut placed = best.clone();
            self.take(&taken, &mut placed);
            for i in taken {
                self.put(i, &mut placed, may_mix, price, &mut draws);
            }
            let drawn = self.rank(&placed, enough);
            if drawn <= rank {
                (best, rank) = (placed, drawn);
            }
        }
        best
    }

    fn take(&self, values: &[usize], placed: &mut Placed) {
        for &i in values {
            placed.of[i] = None;
        }
        placed.sizes.fill(0);
        for (of, lifetime) in placed.of.iter().zip(self.lifetimes) {
            if let Some((arena, offset)) = of {
                placed.sizes[*arena] = placed.sizes[*arena].max(offset + lifetime.size);
            }
        }
        for &(access, _) in values.iter().flat_map(|&i| &self.others[i]) {
            let Access { reads, writes } = &self.accesses[access];
            let arenas = || writes.iter().filter_map(|&i| placed.of[i]);
            placed.mixing[access] = arenas().any(|(arena, _)| reads.iter().any(|&i| placed.is_in(i, arena)));
        }
    }

    /// Places a value in the arena that grows least, where one more access that mixes counts like growth by `price`.
    fn put(&self, i: usize, placed: &mut Placed, may_mix: &[bool], price: usize, draws: &mut Draws) {
        let lifetime = &self.lifetimes[i];
        let alive = placed.of.iter().zip(self.lifetimes).filter(|(_, l)| lifetime.overlaps(l));
        let mut taken: Vec<_> = alive.filter_map(|(of, l)| Some((*of.as_ref()?, l.size))).collect();
        taken.sort_unstable();
        // One that nothing is in serves as a new one.
        let new = placed.sizes.iter().position(|&size| size == 0).unwrap_or(placed.sizes.len());
        let mut places = vec![(lifetime.size, new, 0)];
        for (arena, &end) in placed.sizes.iter().enumerate().filter(|(_, end)| **end > 0) {
            if let Some(mixes) = self.mixes(i, arena, placed, may_mix) {
                let here = taken.iter().filter(|((of, _), _)| *of == arena);
                let offset = gap(lifetime.size, here.map(|&((_, offset), size)| (offset, size)), self.align);
                let growth = (offset + lifetime.size).saturating_sub(end);
                if offset + lifetime.size <= self.largest {
                    places.push((growth + mixes * price, arena, offset));
                }
            }
        }
        let least = places.iter().map(|place| place.0).min();
        places.retain(|place| Some(place.0) == least);
        let (_, arena, offset) = places[draws.below(places.len())];
        if arena == placed.sizes.len() {
            placed.sizes.push(0);
        }
        placed.sizes[arena] = placed.sizes[arena].max(offset + lifetime.size);
        placed.of[i] = Some((arena, offset));
        for &(access, other) in &self.others[i] {
            placed.mixing[access] |= placed.is_in(other, arena);
        }
    }

    /// How many more accesses mix if a value is placed in this arena; `None` where one may not.
    fn mixes(&self, i: usize, arena: usize, placed: &Placed, may_mix: &[bool]) -> Option<usize> {
        let (mut count, mut last) = (0, None);
        for &(access, other) in &self.others[i] {
            if placed.is_in(other, arena) && !placed.mixing[access] {
                if !may_mix[access] {
                    return None;
                }
                count += usize::from(last.replace(access) != Some(access));
            }
        }
        Some(count)
    }
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

    /// Each step reads what the one before it has written, where both values live at once.
    fn handing_on(lifetimes: &[Lifetime]) -> Vec<Access> {
        let pairs = (1..lifetimes.len()).filter(|&i| lifetimes[i].overlaps(&lifetimes[i - 1]));
        pairs.map(|i| Access { reads: vec![i - 1], writes: vec![i] }).collect()
    }

    /// The accesses of those that read and write parts of one arena.
    fn mixing(arenas: &Arenas, accesses: &[Access]) -> Vec<Access> {
        let arena = |&value: &usize| arenas.of[value].0;
        let mixes = |access: &&Access| {
            access.reads.iter().any(|read| access.writes.iter().any(|written| arena(read) == arena(written)))
        };
        accesses.iter().filter(mixes).cloned().collect()
    }

    fn assert_apart(lifetimes: &[Lifetime], arenas: &Arenas, align: usize) {
        for (i, a) in lifetimes.iter().enumerate() {
            let (arena, offset) = arenas.of[i];
            assert!(offset % align == 0 && offset + a.size <= arenas.sizes[arena]);
            for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                let (other, other_offset) = arenas.of[j];
                let is_apart = offset + a.size <= other_offset || other_offset + b.size <= offset;
                assert!(arena != other || is_apart || !a.overlaps(b) || a.size == 0 || b.size == 0);
            }
        }
    }

    #[test]
    fn steps_mix_where_it_takes_that_and_where_they_may() {
        let total = |arenas: &Arenas| arenas.sizes.iter().sum::<usize>();
        let mut count = 0;
        for (seed, align) in [(1, 1), (2, 1), (3, 16), (4, 16)] {
            let sizes: Vec<_> = scattered(seed).iter().map(|lifetime| lifetime.size + 1).collect();
            let lifetimes = chain(&sizes);
            let mut accesses = handing_on(&lifetimes);
            // Every third step reads something twice.
            accesses.iter_mut().step_by(3).for_each(|access| access.reads.push(access.reads[0]));
            let least = lower_bound(&lifetimes);
            let apart = place_apart(&lifetimes, &accesses, usize::MAX, usize::MAX, align);
            assert_eq!(mixing(&apart, &accesses), []);
            assert!(total(&apart) <= assign(&lifetimes).sizes.iter().sum());
            let mixed = place_apart(&lifetimes, &accesses, least, usize::MAX, align);
            let mixing = mixing(&mixed, &accesses);
            assert!(total(&mixed) <= total(&apart));
            assert!(mixing.iter().all(Access::may_mix));
            count += mixing.len();
            assert_eq!(place_apart(&lifetimes, &accesses, least, usize::MAX, align), mixed);
            for arenas in [apart, mixed] {
                assert!(total(&arenas) >= least);
                assert_apart(&lifetimes, &arenas, align);
            }
        }
        assert!(count > 0);
        assert_eq!(place_apart(&[], &[], 0, usize::MAX, 16), Arenas::default());
    }

    #[test]
    fn no_arena_is_larger_than_it_may_be() {
        let lifetimes =
            [(0, 100), (1, 60), (1, 60)].map(|(step, size)| Lifetime { first: step, last: step, size });
        assert_eq!(place_apart(&lifetimes, &[], 120, 120, 1).sizes, [120]);
        let mut sizes = place_apart(&lifetimes, &[], 120, 119, 1).sizes;
        sizes.sort_unstable();
        assert_eq!(sizes, [60, 100]);
    }

    #[test]
    fn a_chain_takes_turns_in_two_arenas() {
        let lifetimes = chain(&[100, 80, 60, 40, 20, 90, 10]);
        let arenas = place_apart(&lifetimes, &handing_on(&lifetimes), usize::MAX, usize::MAX, 1);
        assert_eq!(arenas.sizes, [100, 90]);
    }

    #[test]
    fn as_few_steps_mix_as_is_enough() {
        // Apart, the second 60 has to lie beside the 100 in an arena of its own.
        let lifetimes = chain(&[100, 10, 60, 60]);
        let mut accesses = handing_on(&lifetimes);
        let of = |accesses: &[Access], enough| {
            let arenas = place_apart(&lifetimes, accesses, enough, usize::MAX, 1);
            assert_apart(&lifetimes, &arenas, 1);
            (arenas.sizes.iter().sum::<usize>(), mixing(&arenas, accesses))
        };
        assert_eq!(of(&accesses, 160), (160, vec![]));
        assert_eq!(of(&accesses, 130), (130, accesses[2..].to_vec()));
        assert_eq!(of(&accesses, 120), (120, accesses.clone()));
        // What is read twice may not be writable.
        accesses[2].reads = vec![2; 2];
        assert_eq!(of(&accesses, 130), (160, vec![]));
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
