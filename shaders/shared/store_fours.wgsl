// Four neighbours of an output row, where every row is whole fours.

alias Stored = vec4<f32>;

fn store4(at: u32, valid: u32, values: vec4<f32>) {
    output[at / 4u] = values;
}
