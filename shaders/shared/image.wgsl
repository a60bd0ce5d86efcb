// Images: tensors in textures, four channels to a texel.
//
// Texel ((n * ceil(c / 4) + c / 4) * height + y) * width + x holds channels c to c + 3 of a pixel; those past the last
// channel are finite and meet weights of 0. They follow each other through the layers of an array, whose other layers hold
// other values: WebGPU allows a dispatch to read some layers and write others. Weights have textures of their own.

const LAYER_BITS = 3u;
const WEIGHT_BITS = 11u;

// Where a texel of a value is, of layers of so many rows, a power of two: column, row and layer.
fn place_of(texel: u32, rows: u32) -> vec3<u32> {
    let row = texel >> LAYER_BITS;
    return vec3(texel & ((1u << LAYER_BITS) - 1u), row & (rows - 1u), row >> firstTrailingBit(rows));
}

// Where a texel of weights is.
fn texel_at(texel: u32) -> vec2<u32> {
    return vec2(texel & ((1u << WEIGHT_BITS) - 1u), texel >> WEIGHT_BITS);
}

fn activate4(x: vec4<f32>) -> vec4<f32> {
    return vec4(activate(x.x), activate(x.y), activate(x.z), activate(x.w));
}

// Zeros past the last channel, of which the last texel in depth holds so many. Without this an infinite input would put
// NaN there, and from there everywhere.
fn mask(value: vec4<f32>, is_last: bool, lanes: u32) -> vec4<f32> {
    return select(value, vec4<f32>(), vec4(is_last) & (vec4(0u, 1u, 2u, 3u) >= vec4(lanes)));
}
