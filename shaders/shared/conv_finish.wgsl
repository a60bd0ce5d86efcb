// What follows the sums of a convolution, for four neighbours of an output row. Of them, the first `valid` are in the row,
// and the first of all is element `at` of the output.
fn finish4(filter_: u32, at: u32, valid: u32, sums: vec4<f32>) {
    var values = sums;
    if HAS_BIAS {
        values += bias[filter_];
    }
    if HAS_RESIDUAL {
        values += residual4(at, valid);
    }
    store4(at, valid, vec4(activate(values.x), activate(values.y), activate(values.z), activate(values.w)));
}
