//! Resize and Upsample: one [`Resample`] for each axis that changes, its taps computed here in f64.
//!
//! Opsets: Upsample has its scales in attributes before 9 and in an input in 9; Resize 10 resamples as Upsample does;
//! from 11 on coordinates, rounding and sizes can be chosen, from 18 on axes, aspect ratio and antialiasing.

use super::Refusal;
use super::builder::Val;
use super::node::{Node, integer, size};
use crate::ops::Resample;

/// How output positions are mapped to places in the input.
struct Sampling<'a> {
    mode: &'a str,
    coordinates: &'a str,
    nearest: &'a str,
    cubic: f64,
    exclude_outside: bool,
    antialias: bool,
    extrapolation: f32,
}

impl Sampling<'_> {
    /// Upsample and Resize 10: nearest rounds down, or up where the axis shrinks.
    fn plain(mode: &str) -> Sampling<'_> {
        Sampling {
            mode,
            coordinates: "asymmetric",
            nearest: "simple",
            cubic: -0.75,
            exclude_outside: false,
            antialias: false,
            extrapolation: 0.0,
        }
    }
}

/// One axis to be resized.
struct Axis {
    input: usize,
    output: usize,
    scale: f64,
    /// The output's length before it was rounded to `output`.
    length: f64,
    /// The part of the input that is cropped to, in units of its length.
    region: (f64, f64),
}

impl Axis {
    fn by_scale(input: usize, scale: f32) -> Result<Self, Refusal> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Refusal::from(format!("the scale {scale}")));
        }
        // In f32, as ONNX's own shape inference has it.
        let output = (input as f32 * scale).floor();
        if output > u32::MAX as f32 {
            return Err(Refusal::from(format!("the scale {scale}")));
        }
        let scale = f64::from(scale);
        Ok(Axis { input, output: output as usize, scale, length: scale * input as f64, region: (0.0, 1.0) })
    }

    fn by_size(input: usize, output: usize) -> Self {
        let scale = if input == 0 { 1.0 } else { output as f64 / input as f64 };
        Axis { input, output, scale, length: output as f64, region: (0.0, 1.0) }
    }

    /// Where in the input position `x` of the output lies; `None` outside the input, where that is left blank.
    fn place(&self, sampling: &Sampling, x: usize) -> Result<Option<f64>, Refusal> {
        let (x, last) = (x as f64, self.input as f64 - 1.0);
        let half_pixel = (x + 0.5) / self.scale - 0.5;
        Ok(Some(match sampling.coordinates {
            "half_pixel" => half_pixel,
            "pytorch_half_pixel" if self.length > 1.0 => half_pixel,
            "pytorch_half_pixel" => 0.0,
            "half_pixel_symmetric" => {
                let centre = self.input as f64 / 2.0;
                half_pixel + centre * (1.0 - self.output as f64 / self.length)
            }
            "tf_half_pixel_for_nn" => (x + 0.5) / self.scale,
            "align_corners" if self.length == 1.0 => 0.0,
            "align_corners" => x * last / (self.length - 1.0),
            "asymmetric" => x / self.scale,
            "tf_crop_and_resize" => {
                let (start, end) = self.region;
                let place = if self.length == 1.0 {
                    0.5 * (start + end) * last
                } else {
                    start * last + x * (end - start) * last / (self.length - 1.0)
                };
                return Ok((0.0..=last).contains(&place).then_some(place));
            }
            other => return Err(Refusal::from(format!("the coordinates '{other}'"))),
        }))
    }

    /// The taps of every output position: how many each has, their places and their weights.
    fn taps(&self, sampling: &Sampling) -> Result<(usize, Vec<usize>, Vec<f32>), Refusal> {
        let (radius, cubic) = match sampling.mode {
            "nearest" => (0.0, false),
            "linear" | "bilinear" => (1.0, false),
            "cubic" => (2.0, true),
            other => return Err(Refusal::from(format!("the mode '{other}'"))),
        };
        // Where the axis shrinks, antialiasing widens the filter by as much.
        let stretch = if sampling.antialias { self.scale.min(1.0) } else { 1.0 };
        let first = if radius == 0.0 { 0.0 } else { (-radius / stretch).floor() + 1.0 };
        // A filter reaches at most twice the input past its ends.
        let taps = if radius == 0.0 { 1.0 } else { 2.0 - 2.0 * first };
        let (first, taps) = (first as i64, taps as usize);
        let total = self.output.checked_mul(taps).ok_or("more taps than can be addressed")?;
        let (mut indices, mut weights) = (Vec::with_capacity(total), Vec::with_capacity(total));
        let inside = |place: i64| usize::try_from(place.clamp(0, integer(self.input) - 1)).unwrap_or(0);
        for x in 0..self.output {
            let Some(place) = self.place(sampling, x)? else {
                if sampling.extrapolation != 0.0 {
                    return Err(Refusal::from("an extrapolation value other than 0 past the input"));
                }
                indices.extend(std::iter::repeat_n(0, taps));
                weights.extend(std::iter::repeat_n(0.0, taps));
                continue;
            };
            if radius == 0.0 {
                let rounded = match sampling.nearest {
                    "round_prefer_floor" => (place - 0.5).ceil(),
                    "round_prefer_ceil" => (place + 0.5).floor(),
                    "floor" => place.floor(),
                    "ceil" => place.ceil(),
                    "simple" if self.scale < 1.0 => place.ceil(),
                    "simple" => place.floor(),
                    other => return Err(Refusal::from(format!("the rounding '{other}'"))),
                };
                indices.push(inside(rounded as i64));
                weights.push(1.0);
                continue;
            }
            let whole = place.floor();
            let fraction = place - whole;
            let mut row: Vec<(i64, f64)> = (first..)
                .take(taps)
                .map(|tap| {
                    let distance = ((tap as f64 - fraction) * stretch).abs();
                    let weight = if cubic {
                        cubic_filter(distance, sampling.cubic)
                    } else {
                        (1.0 - distance).max(0.0)
                    };
                    ((whole as i64).saturating_add(tap), weight)
                })
                .collect();
            if sampling.exclude_outside {
                for (place, weight) in &mut row {
                    if inside(*place) as i64 != *place {
                        *weight = 0.0;
                    }
                }
            }
            let sum: f64 = row.iter().map(|(_, weight)| weight).sum();
            for (place, weight) in row {
                indices.push(inside(place));
                weights.push(crate::onnx::element::narrow(if sum == 0.0 { weight } else { weight / sum }));
            }
        }
        Ok((taps, indices, weights))
    }
}

/// Keys' cubic convolution kernel (1981) with parameter `a`, at a distance of 0 or more.
fn cubic_filter(x: f64, a: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

fn resample(n: &mut Node, x: Val, axes: &[(usize, Axis)], sampling: &Sampling) -> Result<Val, Refusal> {
    let mut y = x;
    for (axis, resized) in axes {
        let crops = sampling.coordinates == "tf_crop_and_resize" && resized.region != (0.0, 1.0);
        if resized.scale == 1.0 && resized.input == resized.output && !crops {
            continue;
        }
        if resized.input == 0 && resized.output != 0 {
            return Err(Refusal::from(format!("axis {axis} has no elements to resize")));
        }
        // Taps are never more than a few times the larger of both sizes.
        n.to.charge(&[resized.output.saturating_add(resized.input)], 64)?;
        let (taps, indices, weights) = resized.taps(sampling)?;
        y = n.to.emit(Resample { axis: *axis, taps, indices, weights }, &[y])?;
    }
    Ok(y)
}

/// Upsample.
pub(super) fn upsample(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let dims = n.to.dims(x);
    let scales = match n.opset {
        9.. => n.known_floats(1, "the scales")?,
        7..9 => n.floats("scales")?.map(<[f32]>::to_vec),
        _ => {
            let height = n.float("height_scale")?.ok_or("attribute 'height_scale' is missing")?;
            let width = n.float("width_scale")?.ok_or("attribute 'width_scale' is missing")?;
            Some(vec![1.0, 1.0, height, width])
        }
    };
    let mode = n.string_or("mode", "nearest")?;
    plain(n, x, &dims, scales, mode)
}

fn plain(
    n: &mut Node,
    x: Val,
    dims: &[usize],
    scales: Option<Vec<f32>>,
    mode: &str,
) -> Result<Vec<Val>, Refusal> {
    let scales = scales.ok_or("the scales are missing")?;
    if scales.len() != dims.len() {
        return Err(Refusal::from(format!("{} scales for {} axes", scales.len(), dims.len())));
    }
    let axes =
        dims.iter().zip(scales).map(|(&d, scale)| Axis::by_scale(d, scale)).collect::<Result<Vec<_>, _>>()?;
    let axes: Vec<_> = axes.into_iter().enumerate().collect();
    Ok(vec![resample(n, x, &axes, &Sampling::plain(mode))?])
}

/// Resize.
pub(super) fn resize(n: &mut Node) -> Result<Vec<Val>, Refusal> {
    let x = n.required(0)?;
    let dims = n.to.dims(x);
    let mode = n.string_or("mode", "nearest")?;
    if n.opset < 11 {
        let scales = n.known_floats(1, "the scales")?;
        return plain(n, x, &dims, scales, mode);
    }
    let sampling = Sampling {
        mode,
        coordinates: n.string_or("coordinate_transformation_mode", "half_pixel")?,
        nearest: n.string_or("nearest_mode", "round_prefer_floor")?,
        cubic: f64::from(n.float_or("cubic_coeff_a", -0.75)?),
        exclude_outside: n.flag("exclude_outside", false)?,
        antialias: n.flag("antialias", false)?,
        extrapolation: n.float_or("extrapolation_value", 0.0)?,
    };
    let axes = match n.integers("axes")? {
        Some(axes) => n.axes(axes, dims.len())?,
        None => (0..dims.len()).collect(),
    };
    // An absent list may also be given as an empty one.
    let region = n.known_floats(1, "the region")?.filter(|v| !v.is_empty());
    let scales = n.known_floats(2, "the scales")?.filter(|v| !v.is_empty());
    let sizes = n.known_integers(3, "the sizes")?.filter(|v| !v.is_empty());
    let policy = n.string_or("keep_aspect_ratio_policy", "stretch")?;

    let mut resized = match (scales, sizes) {
        (Some(scales), None) if scales.len() == axes.len() => axes
            .iter()
            .zip(scales)
            .map(|(&a, scale)| Axis::by_scale(dims[a], scale))
            .collect::<Result<Vec<_>, _>>()?,
        (None, Some(sizes)) if sizes.len() == axes.len() => {
            let sizes = sizes.iter().map(|&s| size(s, "sizes")).collect::<Result<Vec<_>, _>>()?;
            let stretched: Vec<_> = axes.iter().zip(sizes).map(|(&a, s)| Axis::by_size(dims[a], s)).collect();
            let scales = stretched.iter().map(|a| a.scale);
            let common = match policy {
                "stretch" => None,
                "not_larger" => scales.reduce(f64::min),
                "not_smaller" => scales.reduce(f64::max),
                other => return Err(Refusal::from(format!("the policy '{other}'"))),
            };
            match common {
                None => stretched,
                Some(scale) => axes
                    .iter()
                    .map(|&a| {
                        let length = scale * dims[a] as f64;
                        Axis { scale, length, ..Axis::by_size(dims[a], (length + 0.5).floor() as usize) }
                    })
                    .collect(),
            }
        }
        (Some(_), Some(_)) => return Err(Refusal::from("both scales and sizes")),
        _ => return Err(Refusal::from("neither as many scales nor as many sizes as axes")),
    };
    if sampling.coordinates == "tf_crop_and_resize" {
        let region = region
            .filter(|r| r.len() == 2 * axes.len())
            .ok_or("a region of other than two numbers per axis")?;
        let (starts, ends) = region.split_at(axes.len());
        for ((axis, &start), &end) in resized.iter_mut().zip(starts).zip(ends) {
            axis.region = (f64::from(start), f64::from(end));
        }
    }
    let axes: Vec<_> = axes.into_iter().zip(resized).collect();
    Ok(vec![resample(n, x, &axes, &sampling)?])
}
