//! A step of gradient descent: one pass over the weights.

use rayon::prelude::*;

use super::cores::{GRAIN, Spread};
use super::{Kernel, vectorised};
use crate::error::Result;
use crate::ops::Sgd;
use crate::plan::Site;

pub(super) fn compile(op: &Sgd, _site: &Site) -> Result<Kernel> {
    let op = *op;
    Ok(Kernel::new(move |inputs, outputs, _| {
        let [w, g, v, rate] = *inputs else { return };
        let [new_w, new_v] = outputs else { return };
        let rate = rate[0];
        new_w.par_chunks_mut(GRAIN).zip(new_v.par_chunks_mut(GRAIN)).enumerate().spread(1).for_each(
            |(chunk, (new_w, new_v))| {
                let from = chunk * GRAIN;
                let n = new_w.len();
                let [w, g, v] = [w, g, v].map(|all| &all[from..][..n]);
                let new_v = &mut new_v[..n];
                vectorised(|| {
                    for i in 0..n {
                        let d = g[i] + op.weight_decay * w[i];
                        let velocity = op.momentum * v[i] + d;
                        let direction = if op.nesterov { d + op.momentum * velocity } else { velocity };
                        new_v[i] = velocity;
                        new_w[i] = w[i] - rate * direction;
                    }
                });
            },
        );
    }))
}
