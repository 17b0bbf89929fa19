//! The document of predicted curves says what the code of today predicts.

use farrow_simulate::predict::{DOCUMENT, Figure, Workload, row};
use std::path::Path;

#[test]
fn cheap_rows_of_the_document_are_what_the_simulator_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bench").join(DOCUMENT);
    let document = std::fs::read_to_string(path).unwrap();
    for (figure, workload, value) in [
        (Figure::Latency, Workload::Updates, 2),
        (Figure::Clients, Workload::C, 8),
        (Figure::Clients, Workload::A, 16),
    ] {
        let row = row(figure, workload, value);
        let section = format!("## Fig. {}", figure.number());
        let rest = document.split(&section).nth(1).unwrap();
        let section = rest.split("\n## ").next().unwrap();
        assert!(section.contains(&row), "not in {DOCUMENT}, which `farrow sim predict` makes again:\n{row}");
    }
}
