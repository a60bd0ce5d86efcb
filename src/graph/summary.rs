//! What a network is made of: per layer its output shape, parameters, MACs and receptive field.

use std::collections::HashSet;

use super::{Graph, Node, ValueId};
use crate::error::{Error, Result};
use crate::ops::{Operator, Reach};
use crate::receptive::ReceptiveField;
use crate::tensor::Shape;
use crate::window::Axis;

/// One layer of a [`Summary`].
#[derive(Clone, Debug)]
pub struct LayerSummary {
    /// The layer's name.
    pub name: String,
    /// The operator's name.
    pub op: &'static str,
    /// The shape of its first output.
    pub output: Shape,
    /// Elements that are trained; weights shared with an earlier layer are not counted again.
    pub parameters: u64,
    /// Multiply-accumulates for the whole batch; those of bias, activations, norms and pools are not counted.
    pub macs: u64,
    /// What of the network's input one output position sees; `None` where it has no spatial axes, or where
    /// branches are misaligned ([`Graph::receptive_field`] says how).
    pub receptive_field: Option<ReceptiveField>,
}

/// A network's layers and totals.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The layers in the order they run.
    pub layers: Vec<LayerSummary>,
    /// All trained elements.
    pub parameters: u64,
    /// All multiply-accumulates.
    pub macs: u64,
}

/// A value's receptive field while the graph is walked.
type Seen = Option<ReceptiveField>;

impl Graph {
    /// Output shapes, parameters, MACs and receptive fields, layer by layer.
    pub fn summary(&self) -> Summary {
        let mut counted = HashSet::new();
        let mut fields = self.input_fields();
        let mut layers = Vec::new();
        for node in self.nodes() {
            let field = self.node_field(node, &fields).unwrap_or(None);
            for id in &node.outputs {
                fields[id.index()] = field.clone();
            }
            let parameters = node
                .op
                .trained_inputs()
                .iter()
                .filter_map(|&i| node.inputs.get(i).copied().flatten())
                .filter(|&id| self.value(id).constant.is_some() && counted.insert(id))
                .map(|id| self.value(id).info.shape.elements() as u64)
                .sum();
            let output = &self.value(node.outputs[0]).info;
            let outputs: Vec<_> = node.outputs.iter().map(|&id| &self.value(id).info).collect();
            layers.push(LayerSummary {
                name: node.name.clone(),
                op: node.op.name(),
                output: output.shape.clone(),
                parameters,
                macs: node.op.macs(&self.operand_infos(node), &outputs),
                receptive_field: field,
            });
        }
        Summary {
            parameters: layers.iter().fold(0, |sum, l| sum.saturating_add(l.parameters)),
            macs: layers.iter().fold(0, |sum, l| sum.saturating_add(l.macs)),
            layers,
        }
    }

    /// What of the network's inputs one position of a value sees; `None` for a value without spatial axes.
    ///
    /// # Errors
    /// [`Error::Misaligned`] where branches joined on the way differ in stride or centre.
    pub fn receptive_field(&self, id: ValueId) -> Result<Option<ReceptiveField>> {
        let mut fields = self.input_fields();
        for node in self.nodes() {
            let field = self.node_field(node, &fields)?;
            for output in &node.outputs {
                fields[output.index()] = field.clone();
            }
            if node.outputs.contains(&id) {
                break;
            }
        }
        Ok(fields[id.index()].clone())
    }

    fn input_fields(&self) -> Vec<Seen> {
        let mut fields = vec![None; self.values().len()];
        for id in self.inputs() {
            let rank = self.value(*id).info.shape.len();
            fields[id.index()] = (rank > 2).then(|| ReceptiveField::identity(rank - 2));
        }
        fields
    }

    fn operand_infos(&self, node: &Node) -> Vec<Option<&super::Info>> {
        node.inputs.iter().map(|id| id.map(|id| &self.value(id).info)).collect()
    }

    fn node_field(&self, node: &Node, fields: &[Seen]) -> Result<Seen> {
        let branches: Vec<_> =
            node.inputs.iter().flatten().filter_map(|id| fields[id.index()].clone()).collect();
        let Some(first) = branches.first() else {
            return Ok(None);
        };
        let infos = self.operand_infos(node);
        let reach = node.op.reach(&infos);
        let joined = match reach {
            Reach::Unknown => return Ok(None),
            _ if branches.len() == 1 => first.clone(),
            _ => ReceptiveField::join(&branches)
                .map_err(|source| Error::Misaligned { layer: node.name.clone(), source })?,
        };
        Ok(match reach {
            Reach::Window(axes) => Some(joined.then(&axes)),
            Reach::All => {
                let spatial = infos[0].and_then(|x| x.shape.get(2..)).unwrap_or_default();
                let spatial = if spatial.is_empty() { &vec![1; joined.axes.len()] } else { spatial };
                Some(joined.then(&spatial.iter().map(|&size| whole(size)).collect::<Vec<_>>()))
            }
            Reach::Point | Reach::Unknown => Some(joined),
        })
    }
}

/// A window over all of an axis.
fn whole(size: usize) -> Axis {
    Axis { input: size, output: 1, kernel: size.max(1), stride: 1, dilation: 1, before: 0, after: 0 }
}
