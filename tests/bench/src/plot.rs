//! Plots as SVG, in whole pixels: lines over named places, the vertical axis from nought.

use std::fmt::Write as _;
use std::path::Path;

const WIDTH: u64 = 720;
const HEIGHT: u64 = 360;
const LEFT: u64 = 70;
const RIGHT: u64 = 190;
const TOP: u64 = 40;
const BOTTOM: u64 = 40;
const COLOURS: [&str; 4] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"];

/// What is drawn.
#[derive(Debug)]
pub(crate) struct Plot<'a> {
    /// Above it.
    pub(crate) title: &'a str,
    /// Below it: the places from left to right.
    pub(crate) places: &'a [String],
    /// The lines, each with a value for every place.
    pub(crate) lines: &'a [(String, Vec<u64>)],
    /// How a value is written.
    pub(crate) write: fn(u64) -> String,
}

impl Plot<'_> {
    /// Writes the picture.
    pub(crate) fn save(&self, path: &Path) -> Result<(), String> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        std::fs::write(path, self.svg()).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn svg(&self) -> String {
        let (across, down) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let values = self.lines.iter().flat_map(|(_, values)| values);
        let most = values.copied().max().unwrap_or(0).max(1);
        let steps = self.places.len().saturating_sub(1).max(1) as u64;
        let x = |place: usize| LEFT + across * place as u64 / steps;
        let y = |value: u64| TOP + down - down * value / most;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>\n",
            self.title
        );
        for quarter in 0..=4 {
            let value = most * quarter / 4;
            let (at, end, label) = (y(value), LEFT + across, (self.write)(value));
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" y1=\"{at}\" x2=\"{end}\" y2=\"{at}\" stroke=\"#dddddd\"/>\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8,
                at + 4
            );
        }
        for (place, name) in self.places.iter().enumerate() {
            let (x, y) = (x(place), HEIGHT - BOTTOM + 20);
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{name}</text>");
        }
        for (number, (name, values)) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let points = values.iter().enumerate();
            let points: Vec<String> =
                points.map(|(place, value)| format!("{},{}", x(place), y(*value))).collect();
            let at = TOP + 18 * (number as u64 + 1);
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"{}\" y=\"{at}\" fill=\"{colour}\">{name}</text>",
                points.join(" "),
                LEFT + across + 12
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}
