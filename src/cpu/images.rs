//! A batch image by image, each on a core of its own.
//!
//! What a network of small weights computes of one image stays in a core's caches, and no core waits for others between
//! layers. Larger weights would be read from memory for every image: such networks go through a batch layer by layer.

use std::slice::{ChunksExact, ChunksExactMut};
use std::sync::{Mutex, PoisonError};

use super::aligned::Buffers;
use super::cores::{for_each, on_this_core};
use super::layers::{ACTIVATIONS, ALONE, Layers, List};
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::plan::{MemoryReport, PlanOptions};

/// Words of constants up to which a batch is run image by image: what all cores can keep in the last cache.
const WEIGHTS: usize = 4 << 20;

/// A graph that treats the images of a batch apart, compiled for one image.
pub(super) struct Images {
    image: Layers,
    count: usize,
    /// Words of one image of each input and output; none of them is 0.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// How many images are worked on at once.
    threads: usize,
    /// The outputs of all images.
    results: Buffers,
}

impl Images {
    /// `None` where layer by layer is the better way or the only one.
    ///
    /// Kernel variants are about layers as they are, so that plans with one go layer by layer too.
    pub fn compile(graph: &Graph, options: &PlanOptions) -> Result<Option<Self>> {
        let constants = graph.values().iter().filter(|value| value.constant.is_some());
        let weights: usize = constants.map(|value| value.info.shape.elements()).sum();
        if weights > WEIGHTS || options.variant.is_some() {
            return Ok(None);
        }
        let Some((one, count)) = graph.for_one_image() else { return Ok(None) };
        let words = |ids: &[ValueId]| -> Vec<_> {
            ids.iter().map(|id| one.value(*id).info.shape.elements()).collect()
        };
        let (inputs, outputs) = (words(one.inputs()), words(one.outputs()));
        let threads = rayon::current_num_threads();
        if count < threads || inputs.contains(&0) || outputs.contains(&0) {
            return Ok(None);
        }
        let image = Layers::compile(&one, options)?;
        image.reserve(threads)?;
        let results = Buffers::new(count * outputs.iter().sum::<usize>(), ACTIVATIONS);
        results.reserve(1)?;
        Ok(Some(Images { image, count, inputs, outputs, threads, results }))
    }

    pub fn memory(&self) -> MemoryReport {
        let MemoryReport { weights, activations, activations_lower_bound } = self.image.memory();
        let results = 4 * self.results.words() as u64;
        let all = |bytes: u64| bytes * self.threads as u64 + results;
        MemoryReport {
            weights,
            activations: all(activations),
            activations_lower_bound: all(activations_lower_bound),
        }
    }

    /// The layers of each image.
    pub fn layers(&self) -> &Layers {
        &self.image
    }

    /// Runs all images and hands the words of the outputs to `read`, adding to each step's list in `times` its milliseconds
    /// for all images, of which the cores work on several at once.
    pub fn run_words<T>(
        &self,
        inputs: &[&[f32]],
        times: Option<&mut [Vec<f64>]>,
        read: impl FnOnce(&[&[f32]]) -> T,
    ) -> Result<T> {
        let mut memory = self.results.take()?;
        let totals = times.as_ref().map(|times| Mutex::new(vec![0.0; times.len()]));
        self.run(inputs, memory.words_mut(), totals.as_ref())?;
        if let (Some(times), Some(totals)) = (times, totals) {
            let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
            times.iter_mut().zip(totals).for_each(|(times, total)| times.push(total));
        }
        let mut rest = memory.words();
        let outputs = self.outputs.iter().map(|words| {
            let (output, others) = rest.split_at(self.count * words);
            rest = others;
            output
        });
        let result = read(&outputs.collect::<List<_>>());
        self.results.put(memory);
        Ok(result)
    }

    fn run(&self, inputs: &[&[f32]], outputs: &mut [f32], totals: Option<&Mutex<Vec<f64>>>) -> Result<()> {
        let mut images = Each::new(self, inputs, outputs);
        let failed = Mutex::new(Ok(()));
        let run = |Image { inputs, mut outputs }: Image, share: f64| {
            let copy = |words: &[&[f32]]| {
                outputs.iter_mut().zip(words).for_each(|(output, words)| output.copy_from_slice(words));
            };
            let mut times = totals.map(|_| vec![Vec::new(); self.image.steps().len()]);
            if let Err(e) = self.image.run_words(&inputs, times.as_deref_mut(), copy) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Err(e);
            }
            if let (Some(totals), Some(times)) = (totals, times) {
                let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                let times = times.iter().flatten();
                totals.iter_mut().zip(times).for_each(|(total, time)| *total += time * share);
            }
        };
        if self.count * self.image.work() < ALONE {
            on_this_core(|| images.for_each(|image| run(image, 1.0)));
        } else {
            rayon::scope(|_| {
                // Whole rounds of an image per core; the last images, too few for one, have all cores in turn.
                let cores = rayon::current_num_threads();
                let rounds = images.by_ref().take(self.count - self.count % cores);
                for_each(rounds, true, |image| on_this_core(|| run(image, 1.0 / cores as f64)));
                images.for_each(|image| run(image, 1.0));
            });
        }
        failed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The words of one image.
struct Image<'a> {
    inputs: List<&'a [f32]>,
    outputs: List<&'a mut [f32]>,
}

/// The images of a batch, one after another.
struct Each<'a> {
    inputs: List<ChunksExact<'a, f32>>,
    outputs: List<ChunksExactMut<'a, f32>>,
}

impl<'a> Each<'a> {
    /// The words of all outputs lie one output after another.
    fn new(of: &Images, inputs: &[&'a [f32]], mut outputs: &'a mut [f32]) -> Self {
        let inputs = inputs.iter().zip(&of.inputs).map(|(words, &len)| words.chunks_exact(len));
        let of_output = |&len: &usize| {
            let output = outputs.split_off_mut(..of.count * len).unwrap_or_default();
            output.chunks_exact_mut(len)
        };
        Each { inputs: inputs.collect(), outputs: of.outputs.iter().map(of_output).collect() }
    }
}

impl<'a> Iterator for Each<'a> {
    type Item = Image<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let inputs = self.inputs.iter_mut().map(Iterator::next).collect::<Option<_>>()?;
        let outputs = self.outputs.iter_mut().map(Iterator::next).collect::<Option<_>>()?;
        Some(Image { inputs, outputs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::passes::{Passes, optimize};
    use crate::network::{Conv2d, Network};

    const SMALL: [usize; 3] = [3, 9, 7];
    const LARGE: [usize; 3] = [3, 41, 40];

    /// A network of two outputs, one of them in the middle, for so many images.
    fn network(image: [usize; 3], images: usize) -> Graph {
        let net = Network::new("two outputs", image).conv2d(Conv2d::new(20, 3)).relu();
        let net = net.conv2d(Conv2d::new(5, 3)).flatten().softmax();
        let mut graph = net.build().unwrap().with_batch(images).unwrap();
        let middle = graph.nodes()[1].outputs[0];
        graph.output(middle);
        optimize(&graph, &Passes::default()).unwrap()
    }

    fn input(graph: &Graph) -> Vec<f32> {
        let elements = graph.value(graph.inputs()[0]).info.shape.elements();
        (0..elements).map(|i| (i as f32 * 0.37).sin()).collect()
    }

    fn on<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    fn compile(graph: &Graph) -> Option<Images> {
        Images::compile(graph, &PlanOptions::default()).unwrap()
    }

    fn owned(words: &[&[f32]]) -> Vec<Vec<f32>> {
        words.iter().map(|words| words.to_vec()).collect()
    }

    #[test]
    fn each_image_comes_out_as_alone() {
        // On two threads five images are two rounds and one, which has both threads.
        for (image, threads, count) in
            [(SMALL, 1, 2), (SMALL, 2, 3), (LARGE, 1, 2), (LARGE, 2, 5), (LARGE, 3, 8)]
        {
            let graph = network(image, count);
            let input = input(&graph);
            let alone = Layers::compile(&network(image, 1), &PlanOptions::default()).unwrap();
            let mut wanted = [Vec::new(), Vec::new()];
            for image in input.chunks(input.len() / count) {
                let outputs = alone.run_words(&[image], None, owned).unwrap();
                wanted.iter_mut().zip(outputs).for_each(|(wanted, output)| wanted.extend(output));
            }
            on(threads, || {
                let images = compile(&graph).unwrap();
                assert_eq!(count * images.image.work() < ALONE, image == SMALL);
                // Twice: what the first run leaves behind must not matter.
                for _ in 0..2 {
                    let outputs = images.run_words(&[&input], None, owned).unwrap();
                    assert!(outputs == wanted, "{count} images on {threads} threads");
                }
            });
        }
    }

    #[test]
    fn steps_are_timed_over_all_images() {
        let graph = network(LARGE, 5);
        on(2, || {
            let images = compile(&graph).unwrap();
            let mut times = vec![Vec::new(); images.layers().steps().len()];
            for _ in 0..3 {
                images.run_words(&[&input(&graph)], Some(times.as_mut_slice()), owned).unwrap();
            }
            assert!(
                times.iter().all(|times| times.len() == 3 && times.iter().all(|&time| time > 0.0)),
                "{times:?}"
            );
        });
    }

    #[test]
    fn memory_is_that_of_the_images_in_work_and_of_all_outputs() {
        let graph = network(LARGE, 8);
        let results: usize = graph.outputs().iter().map(|id| graph.value(*id).info.shape.elements()).sum();
        let [one, two] = [1, 2].map(|threads| on(threads, || compile(&graph).unwrap().memory()));
        let layers = Layers::compile(&network(LARGE, 1), &PlanOptions::default()).unwrap().memory();
        assert_eq!(one.activations, layers.activations + 4 * results as u64);
        assert_eq!(two.activations, one.activations + layers.activations);
        assert_eq!(two.activations_lower_bound, one.activations_lower_bound + layers.activations_lower_bound);
        assert_eq!((one.weights, two.weights), (layers.weights, layers.weights));
    }

    #[test]
    fn few_images_large_weights_and_variants_go_layer_by_layer() {
        let graph = network(SMALL, 3);
        assert!(on(3, || compile(&graph).is_some()));
        assert!(on(4, || compile(&graph).is_none()), "fewer images than threads");
        let options = PlanOptions { variant: Some("layers"), ..PlanOptions::default() };
        assert!(on(1, || Images::compile(&graph, &options).unwrap().is_none()));
        let linear =
            |outputs| Network::new("linear", [1, 1, 2047]).flatten().linear(outputs).build().unwrap();
        let batch = |outputs| linear(outputs).with_batch(2).unwrap();
        // With the biases 2048 weights to an output.
        assert!(on(1, || compile(&batch(WEIGHTS / 2048)).is_some()));
        assert!(on(1, || compile(&batch(WEIGHTS / 2048 + 1)).is_none()));
    }
}
