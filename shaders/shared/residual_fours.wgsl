// What is added to four neighbours of an output row, where every row is whole fours.
fn residual4(at: u32, valid: u32) -> vec4<f32> {
    return residual[at / 4u];
}
