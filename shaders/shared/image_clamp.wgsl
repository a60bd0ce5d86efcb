// What a convolution's activation is where it is none, relu or clip: bounds that are parameters, so that one kernel serves
// layers that differ in nothing else.
fn activate(x: f32) -> f32 {
    let y = select(x, params.low, x <= params.low);
    return select(y, params.high, y >= params.high);
}
