//! A step of Adam: one pass over the weights.

use rayon::prelude::*;

use super::cores::{GRAIN, Spread};
use super::{Kernel, vectorised};
use crate::error::Result;
use crate::ops::Adam;
use crate::plan::Site;

pub(super) fn compile(op: &Adam, _site: &Site) -> Result<Kernel> {
    let op = *op;
    Ok(Kernel::new(move |inputs, outputs, _| {
        let [w, g, m, v, rates] = *inputs else { return };
        let [new_w, new_m, new_v] = outputs else { return };
        let [rate, c1, c2] = *rates else { return };
        let new =
            new_w.par_chunks_mut(GRAIN).zip(new_m.par_chunks_mut(GRAIN)).zip(new_v.par_chunks_mut(GRAIN));
        new.enumerate().spread(1).for_each(|(chunk, ((new_w, new_m), new_v))| {
            let from = chunk * GRAIN;
            let n = new_w.len();
            let [w, g, m, v] = [w, g, m, v].map(|all| &all[from..][..n]);
            let (new_m, new_v) = (&mut new_m[..n], &mut new_v[..n]);
            vectorised(|| {
                for i in 0..n {
                    let (w, d) = match op.decoupled {
                        true => (w[i] - rate * op.weight_decay * w[i], g[i]),
                        false => (w[i], g[i] + op.weight_decay * w[i]),
                    };
                    new_m[i] = op.beta1 * m[i] + (1.0 - op.beta1) * d;
                    new_v[i] = op.beta2 * v[i] + (1.0 - op.beta2) * d * d;
                    new_w[i] = w - rate * (c1 * new_m[i]) / ((c2 * new_v[i]).sqrt() + op.epsilon);
                }
            });
        });
    }))
}
