//! Batches, made by other threads while the device works.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use super::augment::Augment;
use super::dataset::{Dataset, shuffle};
use crate::error::Result;
use crate::tensor::{Shape, Tensor};

/// Images that go through a network together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[batch, channels, height, width]`
    pub images: Tensor,
    /// `[batch, classes]`: 1 at each image's class, else 0.
    pub targets: Tensor,
    /// The class of each image.
    pub labels: Vec<usize>,
}

/// The images of a dataset for training: in each epoch in another order, varied in another way, in batches of one size.
///
/// Order and variations follow from the seed and the epoch's number alone, so any batch can be made again; the number of
/// threads does not change a bit.
#[derive(Clone, Debug)]
pub struct Loader {
    data: Dataset,
    batch: usize,
    seed: u64,
    augment: Augment,
    threads: usize,
}

impl Loader {
    /// Batches of `batch` images, of at least one. What does not fill a batch at the end of an epoch is left out of it.
    pub fn new(data: &Dataset, batch: usize, seed: u64, augment: &Augment) -> Self {
        let batch = batch.max(1);
        Loader { data: data.clone(), batch, seed, augment: augment.clone(), threads: some_threads() }
    }

    /// How many threads make batches in advance, two each; with none, each batch is made when it is asked for, as where
    /// there are no threads.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// How many batches an epoch has.
    pub fn batches_per_epoch(&self) -> usize {
        self.data.len() / self.batch
    }

    /// The batches of an epoch. Those that [`Iterator::skip`] leaves out are not made.
    pub fn epoch(&self, epoch: u64) -> Batches {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        shuffle(&mut order, self.seed, epoch);
        order.truncate(self.batches_per_epoch() * self.batch);
        let (augment, seed) = (self.augment.clone(), self.seed);
        Batches::new(
            Recipe { data: self.data.clone(), order, size: self.batch, augment, seed, epoch },
            self.threads,
        )
    }
}

/// As many threads as keep up with a device, without taking the CPU backend's cores.
fn some_threads() -> usize {
    thread::available_parallelism().map_or(0, |cores| cores.get().div_ceil(4))
}

/// All that batches follow from.
#[derive(Debug)]
struct Recipe {
    data: Dataset,
    order: Vec<usize>,
    size: usize,
    augment: Augment,
    seed: u64,
    epoch: u64,
}

impl Recipe {
    fn batches(&self) -> usize {
        self.order.len().div_ceil(self.size)
    }

    /// Batch `number`.
    fn make(&self, number: usize) -> Result<Batch> {
        let from = number * self.size;
        let images = &self.order[from..(from + self.size).min(self.order.len())];
        let [channels, height, width] = self.data.image_shape();
        let shape = Shape::new([images.len(), channels, height, width])?;
        let classes = Shape::new([images.len(), self.data.classes()])?;
        let mut values = vec![0.0f32; shape.elements()];
        let mut targets = vec![0.0f32; classes.elements()];
        let labels: Vec<usize> = images.iter().map(|&index| self.data.label(index)).collect();
        for (i, &index) in images.iter().enumerate() {
            let variation = self.augment.variation(self.seed, self.epoch, index);
            let pixels = channels * height * width;
            self.data.write(index, variation, &mut values[i * pixels..][..pixels]);
            targets[i * classes[1] + labels[i]] = 1.0;
        }
        let images = Tensor::new(shape.to_vec(), values)?;
        Ok(Batch { images, targets: Tensor::new(classes.to_vec(), targets)?, labels })
    }
}

/// Batches one after another. Made by [`Loader::epoch`] and [`Dataset::batches`].
#[derive(Debug)]
pub struct Batches {
    recipe: Arc<Recipe>,
    left: Range<usize>,
    threads: usize,
    /// The threads, once the first batch was asked for; batch `n` comes from thread `n % threads`.
    workers: Option<Vec<Worker>>,
}

#[derive(Debug)]
struct Worker {
    batches: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
}

impl Batches {
    fn new(recipe: Recipe, threads: usize) -> Self {
        Batches { left: 0..recipe.batches(), recipe: Arc::new(recipe), threads, workers: None }
    }

    /// All images as they are.
    pub(super) fn in_order(data: &Dataset, size: usize) -> Self {
        let (order, size) = ((0..data.len()).collect(), size.max(1));
        let data = data.clone();
        Batches::new(
            Recipe { data, order, size, augment: Augment::default(), seed: 0, epoch: 0 },
            some_threads(),
        )
    }

    /// The threads, each at work on its share of what is left.
    fn start(&self) -> Vec<Worker> {
        let threads = self.threads.min(self.left.len());
        let start = |number: usize| {
            let (send, receive) = sync_channel(1);
            let recipe = Arc::clone(&self.recipe);
            let own = self.left.clone().filter(move |batch| batch % threads == number);
            // Where the receiver is gone, the batches are not wanted any more.
            let work = move || {
                let _ = own.map(|batch| recipe.make(batch)).try_for_each(|batch| send.send(batch));
            };
            // A thread that cannot be started leaves its share to whoever asks.
            let thread = thread::Builder::new().name("batches".into()).spawn(work).ok();
            Worker { batches: thread.is_some().then_some(receive), thread }
        };
        (0..threads).map(start).collect()
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.workers.is_none() {
            self.workers = Some(self.start());
        }
        let number = self.left.next()?;
        let workers = self.workers.as_deref().unwrap_or_default();
        let worker = if workers.is_empty() { None } else { workers[number % workers.len()].batches.as_ref() };
        let made = worker.and_then(|batches| batches.recv().ok());
        Some(made.unwrap_or_else(|| self.recipe.make(number)))
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        if self.workers.is_some() {
            // What the threads have made by now has to be passed over.
            for _ in 0..n {
                drop(self.next()?);
            }
        } else {
            self.left.start = self.left.start.saturating_add(n).min(self.left.end);
        }
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.len(), Some(self.left.len()))
    }
}

impl ExactSizeIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        let mut workers = self.workers.take().unwrap_or_default();
        // A thread that waits to hand over a batch goes on, and ends, when nobody is left to take it.
        workers.iter_mut().for_each(|worker| drop(worker.batches.take()));
        for thread in workers.into_iter().filter_map(|worker| worker.thread) {
            let _ = thread.join();
        }
    }
}

/// Random numbers for `what` in an epoch. Their seed differs from that of the weights, which are drawn from the same.
pub(super) fn random(seed: u64, epoch: u64, what: u32) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6461_7461_7365_7473);
    rng.set_stream((epoch << 32) | u64::from(what));
    rng
}

/// A number below `n`, the same in every version of every crate. By less than `n / 2^64` not all are as likely.
pub(super) fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}
