//! Plots as SVG text: lines and marks over axes with units.

use std::fmt::Write;

/// One plot of several in a row.
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// What lies along the bottom.
    pub x_label: String,
    /// What is measured, with its unit.
    pub y_label: String,
    /// Where the bottom is labelled.
    pub x_ticks: Vec<f64>,
    /// The series.
    pub series: Vec<Series>,
}

/// A series: a line, or marks alone.
pub struct Series {
    /// Its name in the legend. Series of one name look alike in all panels.
    pub name: &'static str,
    /// CSS.
    pub colour: &'static str,
    /// Marks without a line.
    pub is_marks: bool,
    /// In order of x.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 330.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 58.0;
const TOP: f64 = 58.0;
const BOTTOM: f64 = 48.0;
const GAP: f64 = 22.0;

/// The panels side by side under one legend; `comment` becomes the first line.
pub fn svg(comment: &str, panels: &[Panel]) -> String {
    assert!(!comment.contains("--"), "XML has no comment with two hyphens");
    let pitch = LEFT + WIDTH + GAP;
    let (width, height) = (pitch * panels.len() as f64, TOP + HEIGHT + BOTTOM);
    let mut out = format!("<!-- {comment} -->\n");
    let _ = writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#222">
<rect width="100%" height="100%" fill="#fff"/>"##
    );
    legend(&mut out, panels);
    for (i, panel) in panels.iter().enumerate() {
        draw(&mut out, panel, LEFT + pitch * i as f64);
    }
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String, panels: &[Panel]) {
    let mut x = LEFT;
    let mut seen: Vec<&str> = Vec::new();
    for series in panels.iter().flat_map(|p| &p.series) {
        if seen.contains(&series.name) {
            continue;
        }
        seen.push(series.name);
        stroke(out, series, &[(x, 16.0), (x + 24.0, 16.0)], &[(x + 12.0, 16.0)]);
        text(out, x + 31.0, 20.0, "start", "", series.name);
        // No font is asked how wide it is: the text of a file must not depend on the machine.
        x += 31.0 + 6.6 * series.name.len() as f64 + 22.0;
    }
}

fn draw(out: &mut String, panel: &Panel, left: f64) {
    let points = || panel.series.iter().flat_map(|s| &s.points);
    let (first, last) = (panel.x_ticks[0], panel.x_ticks[panel.x_ticks.len() - 1]);
    let step = step(points().map(|p| p.1).fold(0.0, f64::max));
    let most = (points().map(|p| p.1).fold(0.0, f64::max) * 1.04 / step).ceil() * step;
    let pad = (last - first) * 0.03;
    let x = |value: f64| left + (value - first + pad) / (last - first + 2.0 * pad) * WIDTH;
    let y = |value: f64| TOP + HEIGHT - value / most * HEIGHT;
    text(out, left + WIDTH / 2.0, TOP - 12.0, "middle", r#" font-weight="bold""#, &panel.title);
    for i in 0..=(most / step).round() as u32 {
        let value = f64::from(i) * step;
        line(out, (left, y(value)), (left + WIDTH, y(value)), if i == 0 { "#222" } else { "#ddd" });
        let digits = usize::from(step < 1.0);
        text(out, left - 7.0, y(value) + 4.0, "end", "", &format!("{value:.digits$}"));
    }
    for tick in &panel.x_ticks {
        line(out, (x(*tick), TOP + HEIGHT), (x(*tick), TOP + HEIGHT + 4.0), "#222");
        text(out, x(*tick), TOP + HEIGHT + 18.0, "middle", "", &format!("{tick}"));
    }
    line(out, (left, TOP), (left, TOP + HEIGHT), "#222");
    text(out, left + WIDTH / 2.0, TOP + HEIGHT + 38.0, "middle", "", &panel.x_label);
    let (at_x, at_y) = (left - 40.0, TOP + HEIGHT / 2.0);
    let turn = format!(r#" transform="rotate(-90 {at_x:.1} {at_y:.1})""#);
    text(out, at_x, at_y, "middle", &turn, &panel.y_label);
    // Marks last, so that no line hides them.
    let (marks, lines): (Vec<_>, Vec<_>) = panel.series.iter().partition(|s| s.is_marks);
    for series in lines.into_iter().chain(marks) {
        let places: Vec<_> = series.points.iter().map(|p| (x(p.0), y(p.1))).collect();
        stroke(out, series, &places, &places);
    }
}

/// A distance of grid lines that people like, for values up to `most`.
fn step(most: f64) -> f64 {
    let rough = most.max(1e-9) / 5.0;
    let power = 10f64.powi(rough.log10().floor() as i32);
    [1.0, 2.0, 5.0, 10.0].map(|s| s * power).into_iter().find(|s| *s >= rough).unwrap_or(10.0 * power)
}

fn stroke(out: &mut String, series: &Series, path: &[(f64, f64)], marks: &[(f64, f64)]) {
    let colour = series.colour;
    if !series.is_marks {
        let path: Vec<_> = path.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let path = path.join(" ");
        let _ =
            writeln!(out, r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>"#);
    }
    for (x, y) in marks {
        let _ = match series.is_marks {
            true => writeln!(
                out,
                r##"<path d="M{:.1} {y:.1}L{x:.1} {:.1}L{:.1} {y:.1}L{x:.1} {:.1}Z" fill="#fff" stroke="{colour}" stroke-width="2"/>"##,
                x - 5.5,
                y - 5.5,
                x + 5.5,
                y + 5.5
            ),
            false => writeln!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="2.8" fill="{colour}"/>"#),
        };
    }
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(out, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}"/>"#);
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, more: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}"{more}>{text}</text>"#);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_lines_are_at_numbers_that_people_like() {
        for (most, expected) in [(9.8, 2.0), (3.4, 1.0), (16.4, 5.0), (23.0, 5.0), (0.9, 0.2)] {
            assert!((step(most) - expected).abs() < 1e-9, "{most}: {}", step(most));
        }
    }

    #[test]
    fn a_plot_is_well_formed_and_says_how_it_was_made() {
        let series = |is_marks| Series {
            name: if is_marks { "theirs" } else { "ours" },
            colour: "#123456",
            is_marks,
            points: vec![(1.0, 2.0), (2.0, 4.0)],
        };
        let panel = Panel {
            title: "A & B < C".into(),
            x_label: "x".into(),
            y_label: "y (us)".into(),
            x_ticks: vec![1.0, 2.0],
            series: vec![series(false), series(true)],
        };
        let svg = svg("made by hand", &[panel]);
        assert!(svg.starts_with("<!-- made by hand -->\n<svg "));
        assert!(svg.contains("A &amp; B &lt; C"));
        // One in the legend, two in the panel.
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert!(svg.ends_with("</svg>\n"));
    }
}
