//! Channels as pictures.

use image::imageops::crop_imm;
use wgpu_cnn::picture::{self, GrayImage};

/// One picture per channel of `values` `[channels, h, w]`, all on one scale: the smallest value of them all is black,
/// the largest white.
pub fn tiles(values: &[f32], channels: usize, h: usize, w: usize) -> Vec<GrayImage> {
    let all = picture::to_grey_image(values, channels * h, w);
    (0..channels).map(|c| crop_imm(&all, 0, (c * h) as u32, w as u32, h as u32).to_image()).collect()
}
