//! Training: epochs over a dataset on one device, that can be watched, stopped and taken up again.

use std::collections::BTreeMap;
use std::iter::Skip;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::data::{Augment, Batch, Batches, Dataset, Loader};
use super::evaluate::evaluate;
use super::fault::{first_fault, is_finite};
use super::training_graph::{Recipe, Role, TrainingGraph};
use super::{Checkpoint, Clip, Ending, EpochReport, Event, Loss, Optimizer, Progress, Schedule};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::plan::{MemoryReport, PlanOptions};
use crate::stepper::Stepper;
use crate::tensor::Tensor;

/// How often the loss is read back for [`Event::Step`]; in between steps follow one another without waiting.
const READ_EVERY: Duration = Duration::from_millis(100);

/// How a network is trained.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TrainOptions {
    /// How often every image is seen.
    pub epochs: u64,
    /// Images per step. A last batch of fewer is left out of an epoch; shuffling leaves out others each time.
    pub batch: usize,
    /// Chooses the order of the images, their augmentation and what dropout drops. Not the weights, which are the
    /// network's ([`super::fresh_weights`]).
    pub seed: u64,
    /// What is made small.
    pub loss: Loss,
    /// How weights follow their gradients.
    pub optimizer: Optimizer,
    /// The learning rate of every step.
    pub schedule: Schedule,
    /// A bound on the gradients.
    pub clip: Option<Clip>,
    /// Layers that stay as they are, norms and their statistics too: by name, or by what comes before a dot in it.
    pub frozen: Vec<String>,
    /// What is done to images before each step.
    pub augment: Augment,
    /// After so many epochs without a better one on the validation images training ends.
    pub patience: Option<u64>,
    /// Where the state is written after every epoch and when training is stopped.
    pub checkpoint: Option<PathBuf>,
    /// How the step is compiled.
    pub plan: PlanOptions,
}

impl Default for TrainOptions {
    /// 20 epochs in batches of 32 with AdamW, whose learning rate goes from 0.001 to 0 along a cosine, on cross-entropy.
    fn default() -> Self {
        TrainOptions {
            epochs: 20,
            batch: 32,
            seed: 0,
            loss: Loss::CROSS_ENTROPY,
            optimizer: Optimizer::adamw(),
            schedule: Schedule::cosine(1e-3),
            clip: None,
            frozen: Vec::new(),
            augment: Augment::default(),
            patience: None,
            checkpoint: None,
            plan: PlanOptions::default(),
        }
    }
}

/// A network being trained on one device.
///
/// The same network, options, images and device give the same weights, bit for bit, also where training was stopped and
/// resumed in between.
pub struct Trainer {
    device: Device,
    network: Graph,
    options: TrainOptions,
    training: TrainingGraph,
    stepper: Stepper,
    progress: Progress,
    /// The weights of the best epoch so far, by name.
    best: BTreeMap<String, Tensor>,
}

impl Trainer {
    /// Compiles the training of a network, in its form for inference; its weights are where training starts.
    ///
    /// # Errors
    /// [`Error::Training`] where the network or the options cannot be trained: it ends in a softmax, a setting is out of
    /// range, a layer to freeze is not there; [`Error::Shape`] for a layer without a gradient; and as [`Device::compile`].
    pub fn new(device: &Device, network: &Graph, options: TrainOptions) -> Result<Self> {
        let recipe = Recipe {
            loss: options.loss,
            optimizer: options.optimizer,
            clip: options.clip,
            frozen: &options.frozen,
            seed: options.seed,
        };
        let training = TrainingGraph::new(network, options.batch, &recipe)?;
        let stepper =
            device.compile_stepper(&training.graph, &options.plan, &training.carried(), &training.start())?;
        let (seed, batch) = (options.seed, options.batch as u64);
        Ok(Trainer {
            device: device.clone(),
            network: network.clone(),
            options,
            training,
            stepper,
            progress: Progress { seed, batch, ..Progress::default() },
            best: BTreeMap::new(),
        })
    }

    /// Goes on where a checkpoint of the same training left off.
    ///
    /// # Errors
    /// [`Error::Training`] where it is of another network, optimiser, seed or batch size; nothing is changed then.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let Checkpoint { progress, mut state, best } = checkpoint;
        let other = |what: &str, theirs: String, ours: String| {
            Err(Error::Training(format!(
                "the checkpoint is of a training with {what} {theirs}, this one has {ours}; give it the same settings"
            )))
        };
        if progress.seed != self.progress.seed {
            return other("seed", progress.seed.to_string(), self.progress.seed.to_string());
        }
        if progress.batch != self.progress.batch {
            return other("batch size", progress.batch.to_string(), self.progress.batch.to_string());
        }
        let mut problems = Vec::new();
        let mut tensors = Vec::new();
        for slot in &self.training.state {
            match state.remove(&slot.name) {
                Some(tensor) if tensor.shape() == slot.start.shape() => tensors.push(tensor),
                Some(tensor) => problems.push(format!(
                    "'{}' is {}, not {}",
                    slot.name,
                    tensor.shape(),
                    slot.start.shape()
                )),
                None => problems.push(format!("'{}' is missing", slot.name)),
            }
        }
        problems.extend(state.keys().map(|name| format!("'{name}' is not part of this training")));
        let kept = |slot: &super::training_graph::Slot| slot.of.is_some();
        let slots = self.training.state.iter().filter(|slot| kept(slot));
        let fits = |(name, tensor): (&String, &Tensor)| {
            slots.clone().any(|slot| slot.name == *name && slot.start.shape() == tensor.shape())
        };
        if !best.is_empty() && (best.len() != slots.clone().count() || !best.iter().all(fits)) {
            problems.push("its best weights are not those of this network".into());
        }
        if !problems.is_empty() {
            return Err(Error::Training(format!(
                "the checkpoint is of another network or optimiser: {}",
                problems.join(", ")
            )));
        }
        self.stepper.set_state(&tensors)?;
        self.progress = progress;
        self.best = best;
        Ok(())
    }

    /// Trains for the epochs that are left. `observe` is told of every step and epoch, and may break off; the training
    /// then stands between two steps and can be run again.
    ///
    /// # Errors
    /// [`Error::Training`] where the datasets do not fit the network or are not those that the training began with;
    /// [`Error::NotFinite`] where the loss is no finite number any more, the state then being that before the epoch;
    /// [`Error::Io`] from checkpoints, and as [`crate::Plan::run`].
    pub fn run(
        &mut self,
        train: &Dataset,
        validation: Option<&Dataset>,
        observe: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Ending> {
        let steps = self.check(train, validation)?;
        self.progress.images = train.len() as u64;
        let mut ending = Ending::Complete;
        while self.progress.epoch < self.options.epochs {
            if self.is_out_of_patience() {
                ending = Ending::Patience;
                break;
            }
            if self.epoch(train, validation, steps, observe)?.is_break() {
                ending = Ending::Stopped;
                break;
            }
        }
        if ending == Ending::Stopped {
            self.save_checkpoint()?;
        }
        Ok(ending)
    }

    /// The steps of an epoch, if the datasets suit the network and what was trained so far.
    fn check(&self, train: &Dataset, validation: Option<&Dataset>) -> Result<u64> {
        let shape = &self.network.value(self.network.inputs()[0]).info.shape;
        let classes = self.network.value(self.network.outputs()[0]).info.shape[1];
        for (name, set) in [("training", Some(train)), ("validation", validation)] {
            let Some(set) = set else { continue };
            if set.classes() != classes {
                return Err(Error::Training(format!(
                    "the {name} images are of {} classes, the network tells {classes} apart; give it a new head \
                     (train::new_head)",
                    set.classes()
                )));
            }
            if set.image_shape()[..] != shape[1..] {
                let (ours, [c, h, w]) = (shape, set.image_shape());
                return Err(Error::Training(format!(
                    "the {name} images are {c}x{h}x{w}, the network takes {ours}"
                )));
            }
        }
        let steps = train.len() / self.options.batch;
        if steps == 0 {
            return Err(Error::Training(format!(
                "{} images do not fill a batch of {}",
                train.len(),
                self.options.batch
            )));
        }
        if self.progress.images != 0 && self.progress.images != train.len() as u64 {
            return Err(Error::Training(format!(
                "the training began with {} images and cannot go on bit for bit with {}",
                self.progress.images,
                train.len()
            )));
        }
        Ok(steps as u64)
    }

    fn is_out_of_patience(&self) -> bool {
        let Some(patience) = self.options.patience else { return false };
        self.progress.step == 0
            && self.progress.best_epoch > 0
            && self.progress.epoch - self.progress.best_epoch >= patience.max(1)
    }

    /// Trains to the end of the epoch, or until `observe` breaks off.
    fn epoch(
        &mut self,
        train: &Dataset,
        validation: Option<&Dataset>,
        steps: u64,
        observe: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let started = Instant::now();
        let first = self.progress.step;
        let before = self.stepper.state()?;
        let mut last_read = started;
        let batches = self.batches(train, first);
        for (step, batch) in (first..steps).zip(batches) {
            let inputs = self.step_inputs(batch?, step, steps)?;
            let loss = if last_read.elapsed() >= READ_EVERY {
                last_read = Instant::now();
                let outputs = self.stepper.step_and_read(&inputs)?;
                Some(outputs[0].values::<f32>()?[0])
            } else {
                self.stepper.step(&inputs)?;
                None
            };
            if loss.is_some_and(|loss| !loss.is_finite()) {
                return Err(self.fault(before, first, train, steps)?);
            }
            self.progress.step = step + 1;
            let images = (step + 1 - first) * self.progress.batch;
            let images_per_s = images as f64 / started.elapsed().as_secs_f64();
            let epoch = self.progress.epoch + 1;
            let event = Event::Step { epoch, step: step + 1, steps, loss, images_per_s };
            // After the last step the epoch is completed first, so that no step is run twice.
            if observe(event).is_break() && step + 1 < steps {
                return Ok(ControlFlow::Break(()));
            }
        }

        let mut state = self.stepper.state()?;
        let trained = started.elapsed();
        if state.iter().any(|tensor| !is_finite(tensor)) {
            return Err(self.fault(before, first, train, steps)?);
        }
        let report = self.report(&state, steps, first, trained, validation, started)?;
        for (slot, tensor) in self.training.state.iter().zip(&mut state) {
            if slot.role == Role::Metric {
                *tensor = slot.start.clone();
            }
        }
        self.stepper.set_state(&state)?;
        self.progress.epoch += 1;
        self.progress.step = 0;
        let best = self.progress.history.iter().find(|r| r.epoch == self.progress.best_epoch);
        if validation.is_some() && best.is_none_or(|best| report.is_better_than(best)) {
            self.progress.best_epoch = report.epoch;
            self.best = self.weights(&state);
        }
        self.progress.history.push(report);
        self.save_checkpoint()?;
        Ok(observe(Event::Epoch(&report)))
    }

    /// The batches of the epoch under way from step `first` on.
    fn batches(&self, train: &Dataset, first: u64) -> Skip<Batches> {
        Loader::new(train, self.options.batch, self.options.seed, &self.options.augment)
            .epoch(self.progress.epoch)
            .skip(first as usize)
    }

    /// What a step of the epoch under way is given beside the state.
    fn step_inputs(&self, batch: Batch, step: u64, steps: u64) -> Result<Vec<Tensor>> {
        let number = self.progress.epoch * steps + step;
        let rate = self.options.schedule.rate(number, self.options.epochs * steps);
        let rates = self.options.optimizer.rates(rate, number);
        let mut inputs = vec![batch.images, batch.targets, Tensor::new([rates.len()], rates)?];
        if self.training.takes_step {
            inputs.push(Tensor::new([1], vec![(number & 0x7fff_ffff) as i64])?);
        }
        Ok(inputs)
    }

    fn report(
        &self,
        state: &[Tensor],
        steps: u64,
        first: u64,
        trained: Duration,
        validation: Option<&Dataset>,
        started: Instant,
    ) -> Result<EpochReport> {
        let metrics = self.training.state.iter().zip(state).filter(|(slot, _)| slot.role == Role::Metric);
        let sums: Vec<f64> =
            metrics.map(|(_, sum)| Ok(f64::from(sum.values::<f32>()?[0]))).collect::<Result<_>>()?;
        let validation = match validation {
            None => None,
            Some(set) => {
                let network = self.with_weights(&self.weights(state))?;
                Some(evaluate(&self.device, &network, set, self.options.batch, &self.options.loss)?)
            }
        };
        let number = self.progress.epoch * steps + steps - 1;
        Ok(EpochReport {
            epoch: self.progress.epoch + 1,
            learning_rate: self.options.schedule.rate(number, self.options.epochs * steps),
            train_loss: sums[0] / steps as f64,
            train_accuracy: sums[1] / (steps * self.progress.batch) as f64,
            validation_loss: validation.as_ref().map(|v| v.loss),
            validation_accuracy: validation.as_ref().map(|v| v.accuracy),
            images_per_s: ((steps - first) * self.progress.batch) as f64 / trained.as_secs_f64(),
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Why the loss is not finite: the epoch under way is run again from the state before it, which is the state from now
    /// on.
    fn fault(&mut self, before: Vec<Tensor>, first: u64, train: &Dataset, steps: u64) -> Result<Error> {
        self.stepper.set_state(&before)?;
        self.progress.step = first;
        let mut found = None;
        for (step, batch) in (first..steps).zip(self.batches(train, first)) {
            let state = self.stepper.state()?;
            let inputs = self.step_inputs(batch?, step, steps)?;
            let outputs = self.stepper.step_and_read(&inputs)?;
            if outputs.iter().chain(&self.stepper.state()?).all(is_finite) {
                continue;
            }
            let layer = first_fault(&self.device, &self.training.graph, &[state, inputs].concat())?;
            found = Some((step + 1, layer));
            break;
        }
        self.stepper.set_state(&before)?;
        let (step, layer) = found.unwrap_or((steps, "what a second run does not show".into()));
        Ok(Error::NotFinite { epoch: self.progress.epoch + 1, step, layer })
    }

    /// The weights and statistics of a state, by name.
    fn weights(&self, state: &[Tensor]) -> BTreeMap<String, Tensor> {
        let slots = self.training.state.iter().zip(state).filter(|(slot, _)| slot.of.is_some());
        slots.map(|(slot, tensor)| (slot.name.clone(), tensor.clone())).collect()
    }

    /// The network with these weights in place of those it started from.
    fn with_weights(&self, weights: &BTreeMap<String, Tensor>) -> Result<Graph> {
        let mut network = self.network.clone();
        for slot in &self.training.state {
            if let (Some(id), Some(tensor)) = (slot.of, weights.get(&slot.name)) {
                network.set_constant(id, tensor.clone())?;
            }
        }
        Ok(network)
    }

    /// The network with the weights as they are now.
    ///
    /// # Errors
    /// As [`crate::Plan::run`], from reading them back.
    pub fn network(&self) -> Result<Graph> {
        self.with_weights(&self.weights(&self.stepper.state()?))
    }

    /// The network with the weights of the epoch that was best on the validation images, and that epoch's report; `None`
    /// before the first and without validation.
    ///
    /// # Errors
    /// None in practice: the weights fit.
    pub fn best(&self) -> Result<Option<(Graph, EpochReport)>> {
        let report = self.progress.history.iter().find(|r| r.epoch == self.progress.best_epoch);
        report.map(|report| Ok((self.with_weights(&self.best)?, *report))).transpose()
    }

    /// The reports of all complete epochs, those before a resume too.
    pub fn history(&self) -> &[EpochReport] {
        &self.progress.history
    }

    /// What the step holds in device memory.
    pub fn memory(&self) -> MemoryReport {
        self.stepper.memory()
    }

    /// The state as it is now.
    ///
    /// # Errors
    /// As [`crate::Plan::run`], from reading it back.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let names = self.training.state.iter().map(|slot| slot.name.clone());
        Ok(Checkpoint {
            progress: self.progress.clone(),
            state: names.zip(self.stepper.state()?).collect(),
            best: self.best.clone(),
        })
    }

    fn save_checkpoint(&self) -> Result<()> {
        match &self.options.checkpoint {
            Some(path) => self.checkpoint()?.save(path),
            None => Ok(()),
        }
    }
}
