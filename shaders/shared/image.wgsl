// Images: tensors in textures, four channels to a texel.
//
// Texel ((n * ceil(c / 4) + c / 4) * height + y) * width + x holds channels c to c + 3 of a pixel; those past the last
// channel are finite and meet weights of 0. Texels follow each other in rows of IMAGE_WIDTH, so that every image fits
// every texture of enough rows.

const IMAGE_BITS = 11u;

// Where a texel is in its texture.
fn texel_at(texel: u32) -> vec2<u32> {
    return vec2(texel & ((1u << IMAGE_BITS) - 1u), texel >> IMAGE_BITS);
}

fn activate4(x: vec4<f32>) -> vec4<f32> {
    return vec4(activate(x.x), activate(x.y), activate(x.z), activate(x.w));
}

// Zeros past the last channel, of which the last texel in depth holds so many. Without this an infinite input would put
// NaN there, and from there everywhere.
fn mask(value: vec4<f32>, is_last: bool, lanes: u32) -> vec4<f32> {
    return select(value, vec4<f32>(), vec4(is_last) & (vec4(0u, 1u, 2u, 3u) >= vec4(lanes)));
}
