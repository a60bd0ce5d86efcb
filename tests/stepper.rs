//! Plans whose state stays on the device from one step to the next.

use wgpu_cnn::graph::{Graph, Info};
use wgpu_cnn::ops::Binary;
use wgpu_cnn::{Device, Error, PlanOptions, Shape, Stepper, Tensor};

fn info(len: usize) -> Info {
    Info::f32(Shape::new([len]).unwrap())
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::new([values.len()], values.to_vec()).unwrap()
}

/// Fibonacci numbers times `x`: `(a, b) -> (b + 0, a + b)`, and `a * x` returned.
fn fibonacci() -> Graph {
    let mut graph = Graph::new("fibonacci");
    let [a, b, x] = ["a", "b", "x"].map(|name| graph.input(name, info(3)));
    let zero = graph.constant("zero", tensor(&[0.0; 3]));
    let scaled = graph.push("scaled", Binary::Mul, &[a, x]).unwrap();
    let next_a = graph.push("next_a", Binary::Max, &[b, zero]).unwrap();
    let next_b = graph.push("next_b", Binary::Add, &[a, b]).unwrap();
    [next_a, scaled, next_b].into_iter().for_each(|id| graph.output(id));
    graph
}

const CARRIED: [(usize, usize); 2] = [(0, 0), (2, 1)];

fn start() -> [Tensor; 2] {
    [tensor(&[0.0, 0.0, 1.0]), tensor(&[1.0, 2.0, 3.0])]
}

fn each(test: impl Fn(&Device, &PlanOptions)) {
    let mut checked = PlanOptions::default();
    checked.checked = true;
    test(&Device::cpu(), &PlanOptions::default());
    let gpu = Device::gpu().unwrap();
    test(&gpu, &PlanOptions::default());
    test(&gpu, &checked);
}

fn stepper(device: &Device, options: &PlanOptions) -> Stepper {
    device.compile_stepper(&fibonacci(), options, &CARRIED, &start()).unwrap()
}

#[test]
fn the_state_moves_on_with_each_step() {
    each(|device, options| {
        let stepper = stepper(device, options);
        let x = tensor(&[1.0, 10.0, 1.0]);
        let results = stepper.step_and_read(std::slice::from_ref(&x)).unwrap();
        // The result is of the state before the step.
        assert_eq!(results, [tensor(&[0.0, 0.0, 1.0])]);
        for _ in 0..8 {
            stepper.step(std::slice::from_ref(&x)).unwrap();
        }
        assert_eq!(stepper.state().unwrap(), [tensor(&[34.0, 68.0, 123.0]), tensor(&[55.0, 110.0, 199.0])]);
        let results = stepper.step_and_read(&[x]).unwrap();
        assert_eq!(results, [tensor(&[34.0, 680.0, 123.0])]);
    });
}

#[test]
fn a_state_can_be_set_and_taken_up_again() {
    each(|device, options| {
        let (one, other) = (stepper(device, options), stepper(device, options));
        let x = tensor(&[1.0; 3]);
        (0..3).for_each(|_| one.step(std::slice::from_ref(&x)).unwrap());
        other.set_state(&one.state().unwrap()).unwrap();
        assert_eq!(
            one.step_and_read(std::slice::from_ref(&x)).unwrap(),
            other.step_and_read(std::slice::from_ref(&x)).unwrap()
        );
        assert_eq!(one.state().unwrap(), other.state().unwrap());
    });
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    each(|device, options| {
        let stepper = stepper(device, options);
        let bad = [tensor(&[9.0; 3]), tensor(&[9.0; 4])];
        assert!(matches!(stepper.set_state(&bad), Err(Error::Input { name, .. }) if name == "b"));
        assert!(stepper.set_state(&bad[..1]).is_err());
        assert_eq!(stepper.state().unwrap(), start());
        assert!(matches!(stepper.step(&[tensor(&[1.0; 2])]), Err(Error::Input { name, .. }) if name == "x"));
        assert_eq!(stepper.state().unwrap(), start());
    });
}

#[test]
fn names_what_is_given_returned_and_kept() {
    each(|device, options| {
        let stepper = stepper(device, options);
        let names = |ports: &[wgpu_cnn::plan::Port]| {
            ports.iter().map(|p| p.name.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(stepper.inputs()), "x");
        assert_eq!(names(stepper.results()), "scaled");
        assert_eq!(names(stepper.state_ports()), "a b");
        assert!(stepper.memory().weights >= 24);
    });
}

#[test]
fn an_input_can_be_its_own_next_value() {
    each(|device, options| {
        let mut graph = Graph::new("still");
        let [a, x] = ["a", "x"].map(|name| graph.input(name, info(2)));
        let sum = graph.push("sum", Binary::Add, &[a, x]).unwrap();
        graph.output(a);
        graph.output(sum);
        let state = [tensor(&[5.0, 7.0])];
        let stepper = device.compile_stepper(&graph, options, &[(0, 0)], &state).unwrap();
        stepper.step(&[tensor(&[1.0, 1.0])]).unwrap();
        assert_eq!(stepper.step_and_read(&[tensor(&[2.0, 3.0])]).unwrap(), [tensor(&[7.0, 10.0])]);
        assert_eq!(stepper.state().unwrap(), state);
    });
}

#[test]
fn what_cannot_be_carried_is_refused() {
    each(|device, options| {
        let refused = |graph: &Graph, carried: &[(usize, usize)], why: &str| {
            let state = vec![tensor(&[0.0; 3]); carried.len()];
            let message = match device.compile_stepper(graph, options, carried, &state) {
                Ok(_) => "compiled".to_string(),
                Err(e) => e.to_string(),
            };
            assert!(message.contains(why), "{message}");
        };
        refused(&fibonacci(), &[(3, 0)], "3 outputs and 3 inputs");
        refused(&fibonacci(), &[(0, 0), (2, 0)], "two outputs are carried to 'a'");
        let mut swap = Graph::new("swap");
        let [a, b] = ["a", "b"].map(|name| swap.input(name, info(3)));
        swap.output(b);
        swap.output(a);
        refused(&swap, &[(0, 0), (1, 1)], "'b' is an input itself");
        let mut sizes = Graph::new("sizes");
        let a = sizes.input("a", info(3));
        let b = sizes.input("b", info(1));
        let sum = sizes.push("sum", Binary::Add, &[a, b]).unwrap();
        sizes.output(sum);
        refused(&sizes, &[(0, 1)], "cannot be carried to 'b'");
    });
}
