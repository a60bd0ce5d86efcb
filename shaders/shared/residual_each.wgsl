// What is added to four neighbours of an output row of any length, of which the first `valid` are in it.
fn residual4(at: u32, valid: u32) -> vec4<f32> {
    var values = vec4<f32>();
    for (var x = 0u; x < 4u; x++) {
        if x < valid {
            values[x] = residual[at + x];
        }
    }
    return values;
}
