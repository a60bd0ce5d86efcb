// Element k of four neighbouring columns of b.
fn load_quad_b(c0: Column, c1: Column, c2: Column, c3: Column, k: u32) -> vec4<f32> {
    return vec4(load_b(c0, k), load_b(c1, k), load_b(c2, k), load_b(c3, k));
}
