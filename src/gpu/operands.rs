//! From a graph to a recording: where each value is while its nodes are recorded, one after another.

use super::device::GpuDevice;
use super::memory::check_size;
use super::recording::{BufferId, Recording};
use super::{image, ops};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::ops::Op;
use crate::plan::{PlanOptions, Site, roots};

/// A kernel variant by name, or the rule's choice.
pub(super) type Choice = Option<&'static str>;

/// The dispatches of a graph, and the buffers of its inputs and outputs. Where `choices` names a variant for a node, that
/// is asked for, as if by the options.
pub(super) fn record(
    device: &GpuDevice,
    graph: &Graph,
    options: &PlanOptions,
    choices: &[Choice],
) -> Result<(Recording, Vec<BufferId>, Vec<BufferId>)> {
    let mut recording = Recording::new(device.device().limits(), device.is_software());
    recording.subgroups = device.has_subgroups();
    record_on(recording, graph, options, choices)
}

/// As [`record`], on what is empty but for what it says of a device.
pub(super) fn record_on(
    mut recording: Recording,
    graph: &Graph,
    options: &PlanOptions,
    choices: &[Choice],
) -> Result<(Recording, Vec<BufferId>, Vec<BufferId>)> {
    // Before the operators record: they would cut what is far too large into very many pieces. What fits an image need
    // not fit a buffer.
    for value in graph.values().iter().filter(|value| value.constant.is_none()) {
        if !(recording.software && image::fits(&value.info.shape, &recording.limits)) {
            check_size(&recording.limits, &value.name, value.info.shape.elements(), options)?;
        }
    }
    let roots = roots(graph, options);
    let mut places = Places {
        image_readers: image::readers(graph, &roots),
        roots,
        buffers: vec![None; graph.values().len()],
        images: vec![None; graph.values().len()],
        // Where variants are asked for, a kernel may be chosen that knows of no images.
        slices: match options.variant.is_none() && choices.iter().all(Option::is_none) {
            true => image::slices(graph, &recording),
            false => vec![None; graph.values().len()],
        },
        pools: match options.variant {
            None => image::pools(graph, choices, &recording),
            Some(_) => vec![None; graph.values().len()],
        },
    };
    let mut inputs = Vec::new();
    for id in graph.inputs() {
        let value = graph.value(*id);
        let buffer = recording.input(&value.name, value.info.shape.elements());
        places.buffers[id.index()] = Some(buffer);
        inputs.push(buffer);
    }
    for (i, node) in graph.nodes().iter().enumerate() {
        if options.passes.drop_reshape && matches!(node.op, Op::Reshape(_)) {
            continue;
        }
        let chosen = choices.get(i).copied().flatten();
        let chosen = chosen.map(|variant| PlanOptions { variant: Some(variant), ..options.clone() });
        let site = Site { graph, node, options: chosen.as_ref().unwrap_or(options) };
        recording.layer.clone_from(&node.name);
        let mut results = Vec::new();
        for id in &node.outputs {
            let value = graph.value(*id);
            let buffer = recording.computed(&value.name, value.info.shape.elements());
            places.buffers[id.index()] = Some(buffer);
            results.push(buffer);
        }
        ops::record(&site, &mut Operands { places: &mut places, results }, &mut recording)?;
    }
    let mut outputs = Vec::new();
    for id in graph.outputs() {
        outputs.push(places.buffer(id.index(), graph, &mut recording)?);
    }
    Ok((recording, inputs, outputs))
}

/// Where values are: in a buffer, in an image, in both, or, while nothing has asked for a constant, nowhere.
struct Places {
    /// The value in whose memory each value lives.
    roots: Vec<usize>,
    /// How many nodes may read what lives there as an image.
    image_readers: Vec<usize>,
    buffers: Vec<Option<BufferId>>,
    images: Vec<Option<(BufferId, image::Layout)>>,
    /// The image that each value may be computed into, as channels among others.
    slices: Vec<Option<Slice>>,
    /// The pool that may be computed in place of each value.
    pools: Vec<Option<image::Pooled>>,
}

/// Channels among those of another value's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// The other value, by its index.
    pub whole: usize,
    pub layout: image::Layout,
    /// Where the channels start, in texels in depth.
    pub start: usize,
}

impl Places {
    fn buffer(&mut self, value: usize, graph: &Graph, recording: &mut Recording) -> Result<BufferId> {
        let root = self.roots[value];
        if let Some(buffer) = self.buffers[root] {
            return Ok(buffer);
        }
        let of = &graph.values()[root];
        let buffer = match (&of.constant, self.images[root]) {
            (Some(tensor), _) => recording.constant(&of.name, tensor),
            (None, Some((image, layout))) => image::unpack(&of.name, image, &layout, recording)?,
            (None, None) => return Err(Error::Graph(format!("nothing computes '{}'", of.name))),
        };
        self.buffers[root] = Some(buffer);
        Ok(buffer)
    }

    /// The value as an image of this layout.
    fn image(
        &mut self,
        value: usize,
        layout: image::Layout,
        graph: &Graph,
        recording: &mut Recording,
    ) -> Result<BufferId> {
        let root = self.roots[value];
        if let Some((image, _)) = self.images[root].filter(|(_, known)| *known == layout) {
            return Ok(image);
        }
        let buffer = self.buffer(value, graph, recording)?;
        let image = image::pack(&graph.values()[root].name, buffer, &layout, recording)?;
        self.images[root] = Some((image, layout));
        Ok(image)
    }
}

/// The operands of a node while it is recorded: buffers, or images, made of each other where a node wants the other.
///
/// A constant has neither until the operator asks for it, because it may want only pieces of it, or another layout.
pub(crate) struct Operands<'a> {
    places: &'a mut Places,
    results: Vec<BufferId>,
}

impl Operands<'_> {
    fn value(site: &Site, i: usize) -> Option<usize> {
        site.node.inputs.get(i).copied().flatten().map(|id| id.index())
    }

    /// The buffer of operand `i`, which must not be absent.
    pub fn get(&mut self, i: usize, site: &Site, recording: &mut Recording) -> Result<BufferId> {
        let absent = || Error::Graph(format!("layer '{}' lacks input {i}", site.node.name));
        self.places.buffer(Self::value(site, i).ok_or_else(absent)?, site.graph, recording)
    }

    /// The buffer of operand `i`, if it is there.
    pub fn optional(&mut self, i: usize, site: &Site, recording: &mut Recording) -> Result<Option<BufferId>> {
        Self::value(site, i).map(|value| self.places.buffer(value, site.graph, recording)).transpose()
    }

    /// Operand `i` as an image, if it is there; `None` also where its shape has no image.
    pub fn image(&mut self, i: usize, site: &Site, recording: &mut Recording) -> Result<Option<BufferId>> {
        let (Some(value), Some(layout)) = (Self::value(site, i), image::Layout::of(site.dims(i))) else {
            return Ok(None);
        };
        self.places.image(value, layout, site.graph, recording).map(Some)
    }

    /// The image that operand `i` is already in, whatever its layout: of the value that it is a reshape of.
    pub fn known_image(&self, i: usize, site: &Site) -> Option<(BufferId, image::Layout)> {
        self.places.images[self.places.roots[Self::value(site, i)?]]
    }

    /// The buffer that operand `i` is in, where no other node may want an image of it.
    pub fn plain(&self, i: usize, site: &Site) -> Option<BufferId> {
        let root = self.places.roots[Self::value(site, i)?];
        let wanted = self.places.image_readers[root] > 1 || self.places.images[root].is_some();
        self.places.buffers[root].filter(|_| !wanted)
    }

    /// The buffer of output `i`, which the node writes unless it asks for an image.
    pub fn result(&self, i: usize) -> BufferId {
        self.results[i]
    }

    /// Whether no node reads output 0 as an image.
    pub fn is_read_as_words(&self, site: &Site) -> bool {
        self.places.image_readers[self.places.roots[site.node.outputs[0].index()]] == 0
    }

    /// Where the node writes output `i`, as channels of this layout: in an image of its own, or among the channels of the
    /// value that it is joined into.
    pub fn slice_result(
        &mut self,
        i: usize,
        layout: image::Layout,
        site: &Site,
        recording: &mut Recording,
    ) -> (BufferId, Option<Slice>) {
        let value = site.node.outputs[i].index();
        let Some(slice) = self.places.slices[value] else {
            return (self.image_result(i, layout, site, recording), None);
        };
        let name = &site.graph.values()[slice.whole].name;
        let known = self.places.images[slice.whole].map(|(image, _)| image);
        let image = known.unwrap_or_else(|| recording.computed_image(name, slice.layout.texels()));
        self.places.images[slice.whole] = Some((image, slice.layout));
        self.places.buffers[value] = None;
        (image, Some(slice))
    }

    /// Whether operand `i` has been computed into the image of output 0, and that image.
    pub fn joined(&self, i: usize, site: &Site) -> Option<BufferId> {
        let value = Self::value(site, i)?;
        let slice = self.places.slices[value]?;
        let (image, _) = self.places.images[slice.whole]?;
        let computed = self.places.buffers[value].is_none() && self.places.images[value].is_none();
        (computed && slice.whole == site.node.outputs[0].index()).then_some(image)
    }

    /// Output 0 in the image that its parts have been computed into.
    pub fn joined_result(&mut self, image: BufferId, layout: image::Layout, site: &Site) -> BufferId {
        let value = site.node.outputs[0].index();
        self.places.images[value] = Some((image, layout));
        self.places.buffers[value] = None;
        image
    }

    /// The pool that the node may compute in place of output 0.
    pub fn pool(&self, site: &Site) -> Option<image::Pooled> {
        self.places.pools[site.node.outputs[0].index()]
    }

    /// The image of that pool's output, which the node writes in place of output 0.
    pub fn pool_result(&mut self, pool: &image::Pooled, site: &Site, recording: &mut Recording) -> BufferId {
        let image = recording.computed_image(&site.graph.values()[pool.value].name, pool.layout.texels());
        self.places.images[pool.value] = Some((image, pool.layout));
        self.places.buffers[site.node.outputs[0].index()] = None;
        image
    }

    /// Whether output 0 has been computed already, as an image.
    pub fn is_computed(&mut self, site: &Site) -> bool {
        let value = site.node.outputs[0].index();
        let computed = self.places.images[value].is_some();
        if computed {
            self.places.buffers[value] = None;
        }
        computed
    }

    /// Output `i` as an image of this layout, which the node writes in place of the buffer.
    pub fn image_result(
        &mut self,
        i: usize,
        layout: image::Layout,
        site: &Site,
        recording: &mut Recording,
    ) -> BufferId {
        let id = site.node.outputs[i];
        let image = recording.computed_image(&site.graph.value(id).name, layout.texels());
        self.places.images[id.index()] = Some((image, layout));
        self.places.buffers[id.index()] = None;
        image
    }
}
