// Four neighbours of an output row of any length, of which the first `valid` are in it.

alias Stored = f32;

fn store4(at: u32, valid: u32, values: vec4<f32>) {
    for (var x = 0u; x < 4u; x++) {
        if x < valid {
            output[at + x] = values[x];
        }
    }
}
