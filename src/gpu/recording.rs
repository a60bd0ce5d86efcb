//! What a plan will dispatch, over buffers that do not exist yet.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::kernel::Kernel;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A buffer of a [`Recording`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BufferId(pub usize);

/// From a constant's elements and shape to the words of a buffer or image, which are zeros before.
type Pack = dyn Fn(&[f32], &[usize], &mut [f32]) + Send + Sync;

/// How a constant's elements are laid out for a kernel.
#[derive(Clone)]
pub(crate) struct Packing {
    /// A name that no other layout of the same words has: a constant is packed once for each.
    pub layout: String,
    pub pack: Arc<Pack>,
}

impl Packing {
    pub fn new(
        layout: impl Into<String>,
        pack: impl Fn(&[f32], &[usize], &mut [f32]) + Send + Sync + 'static,
    ) -> Self {
        Packing { layout: layout.into(), pack: Arc::new(pack) }
    }
}

impl fmt::Debug for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Packing").field(&self.layout).finish()
    }
}

/// For each of so many blocks of filters, its part of each set of weights, which follow each other in `words`.
pub(crate) fn by_block(words: &mut [f32], sets: usize, blocks: usize) -> Vec<Vec<&mut [f32]>> {
    let mut all: Vec<Vec<&mut [f32]>> = (0..blocks).map(|_| Vec::with_capacity(sets)).collect();
    for (i, part) in words.chunks_exact_mut(words.len() / (sets * blocks)).enumerate() {
        all[i % blocks].push(part);
    }
    all
}

/// Writes the n-th four words of each part.
pub(crate) fn write_fours(parts: &mut [&mut [f32]], n: usize, fours: &[[f32; 4]]) {
    for (part, four) in parts.iter_mut().zip(fours) {
        part[4 * n..4 * n + 4].copy_from_slice(four);
    }
}

/// What a buffer holds.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A range of a constant's elements.
    Constant { tensor: Tensor, range: Range<usize> },
    /// A constant of f32 in another layout.
    Packed { tensor: Tensor, packing: Packing },
    /// Words that the plan made: a table a kernel looks things up in.
    Words(Vec<u32>),
    /// An input of the network.
    Input,
    /// Something a dispatch writes.
    Computed,
}

/// Where a buffer's words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// In a storage buffer.
    Words,
    /// In layers of an array of textures, four to a texel (`shaders/shared/image.wgsl`): adapters that compute on CPU
    /// cores read textures several times faster than storage buffers.
    Image,
    /// In a texture of its own: weights.
    Weights,
    /// Weights that would be one row, as several.
    WeightRows,
}

/// A buffer: what it is called in errors, its length in 32-bit words, where they are, and what they hold.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub name: String,
    pub words: usize,
    pub form: Form,
    pub content: Content,
}

/// One dispatch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dispatch {
    /// The layer it is part of.
    pub layer: String,
    pub kernel: Kernel,
    /// The bytes of the kernel's `Params`.
    pub params: Vec<u8>,
    pub reads: Vec<BufferId>,
    pub writes: Vec<BufferId>,
    pub groups: [u32; 3],
}

/// Dispatches in order, over buffers that are given memory later.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub buffers: Vec<Buffer>,
    pub dispatches: Vec<Dispatch>,
    /// The device's limits that kernels are chosen by.
    pub limits: wgpu::Limits,
    /// Whether the device computes on CPU cores.
    pub software: bool,
    /// Whether kernels may exchange values within subgroups of at least eight invocations.
    pub subgroups: bool,
    /// The layer being recorded.
    pub layer: String,
    nothing: Option<BufferId>,
}

impl Recording {
    pub fn new(limits: wgpu::Limits, software: bool) -> Self {
        Recording {
            buffers: Vec::new(),
            dispatches: Vec::new(),
            limits,
            software,
            subgroups: false,
            layer: String::new(),
            nothing: None,
        }
    }

    fn add(&mut self, name: String, words: usize, content: Content) -> BufferId {
        self.buffers.push(Buffer { name, words, form: Form::Words, content });
        BufferId(self.buffers.len() - 1)
    }

    fn add_texels(&mut self, name: String, texels: usize, form: Form, content: Content) -> BufferId {
        self.buffers.push(Buffer { name, words: 4 * texels, form, content });
        BufferId(self.buffers.len() - 1)
    }

    /// An image that a dispatch will write, of so many texels.
    pub fn computed_image(&mut self, name: impl Into<String>, texels: usize) -> BufferId {
        self.add_texels(name.into(), texels, Form::Image, Content::Computed)
    }

    /// Weights that a dispatch will write, of so many texels.
    pub fn computed_weights(&mut self, name: impl Into<String>, texels: usize) -> BufferId {
        self.add_texels(name.into(), texels, Form::Weights, Content::Computed)
    }

    /// A buffer for a binding whose kernel does not read it.
    pub fn nothing(&mut self) -> BufferId {
        let known = self.nothing.unwrap_or_else(|| self.words("nothing", vec![0; 4]));
        *self.nothing.insert(known)
    }

    /// Operands, and [`Self::nothing`] for those that are absent.
    pub fn or_nothing<const N: usize>(&mut self, operands: [Option<BufferId>; N]) -> [BufferId; N] {
        operands.map(|operand| operand.unwrap_or_else(|| self.nothing()))
    }

    /// A constant of f32 in another layout of so many words.
    pub fn packed(
        &mut self,
        name: impl Into<String>,
        tensor: &Tensor,
        words: usize,
        packing: Packing,
    ) -> BufferId {
        self.add(name.into(), words, Content::Packed { tensor: tensor.clone(), packing })
    }

    /// Constant weights of so many texels.
    pub fn constant_weights(
        &mut self,
        name: impl Into<String>,
        tensor: &Tensor,
        texels: usize,
        packing: Packing,
    ) -> BufferId {
        let content = Content::Packed { tensor: tensor.clone(), packing };
        self.add_texels(name.into(), texels, Form::Weights, content)
    }

    /// A buffer that a dispatch will write: a value, or scratch.
    pub fn computed(&mut self, name: impl Into<String>, words: usize) -> BufferId {
        self.add(name.into(), words, Content::Computed)
    }

    /// An input of the network.
    pub fn input(&mut self, name: impl Into<String>, words: usize) -> BufferId {
        self.add(name.into(), words, Content::Input)
    }

    /// A table of words that kernels look things up in.
    pub fn words(&mut self, name: impl Into<String>, words: Vec<u32>) -> BufferId {
        self.add(name.into(), words.len(), Content::Words(words))
    }

    /// All of a constant.
    pub fn constant(&mut self, name: impl Into<String>, tensor: &Tensor) -> BufferId {
        let words = tensor.shape().elements();
        self.constant_range(name, tensor, 0..words)
    }

    /// Some of a constant's elements.
    pub fn constant_range(
        &mut self,
        name: impl Into<String>,
        tensor: &Tensor,
        range: Range<usize>,
    ) -> BufferId {
        let words = range.len();
        self.add(name.into(), words, Content::Constant { tensor: tensor.clone(), range })
    }

    /// Adds a dispatch of `groups` workgroups; one of none is dropped.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where a dimension has more workgroups than the device can count.
    pub fn dispatch(
        &mut self,
        kernel: Kernel,
        params: &impl bytemuck::NoUninit,
        reads: &[BufferId],
        writes: &[BufferId],
        groups: [u32; 3],
    ) -> Result<()> {
        debug_assert_eq!((kernel.reads(), kernel.writes()), (reads.len(), writes.len()));
        let limit = self.limits.max_compute_workgroups_per_dimension;
        if let Some(&most) = groups.iter().max()
            && most > limit
        {
            return Err(Error::TooLarge {
                what: format!("workgroups of {}", kernel.name()),
                bytes: u64::from(most),
                limit: u64::from(limit),
                limit_name: "max_compute_workgroups_per_dimension",
            });
        }
        if groups.contains(&0) {
            return Ok(());
        }
        let (reads, writes) = (reads.to_vec(), writes.to_vec());
        let params = bytemuck::bytes_of(params).to_vec();
        let layer = self.layer.clone();
        self.dispatches.push(Dispatch { layer, kernel, params, reads, writes, groups });
        Ok(())
    }

    /// Whether a dispatch has this kernel.
    pub fn has(&self, kernel: &Kernel) -> bool {
        self.dispatches.iter().any(|dispatch| dispatch.kernel == *kernel)
    }

    /// Whether both do the same work on the same buffers.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn is_same(&self, other: &Recording) -> bool {
        let sizes = |recording: &Recording| -> Vec<_> {
            recording.buffers.iter().map(|buffer| (buffer.words, buffer.form)).collect()
        };
        self.dispatches == other.dispatches && sizes(self) == sizes(other)
    }

    /// Workgroups for `count` items in one dimension, folded into two near-square ones where they are too many for
    /// one. Kernels find their item by `linear_group` (`shaders/shared/index.wgsl`) and skip those past the end.
    pub fn linear(&self, count: usize, group_size: usize) -> [u32; 3] {
        let groups = count.div_ceil(group_size) as u64;
        let limit = u64::from(self.limits.max_compute_workgroups_per_dimension);
        if groups <= limit {
            return [groups as u32, 1, 1];
        }
        let rows = groups.div_ceil(limit);
        let columns = groups.div_ceil(rows);
        [columns as u32, rows.min(u64::from(u32::MAX)) as u32, 1]
    }
}
