#!/usr/bin/env python3
"""Draws docs/rolling.png: the part of a page of `unstick prove --html PAGE` that shows the rolling replacement.

    target/release/unstick prove --seed 12 --html page.html
    docs/rolling.py page.html

Needs chromium. The sixth chart, of sessions that are lost, is left out.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

SIZE = (1220, 712)
# Only the heading of the event, the line and the grid behind it stay.
SCRIPT = """<script>
{
  const event = document.getElementById("rolling");
  const kept = [event, event.nextSibling, event.nextSibling.nextSibling];
  document.body.replaceChildren(...kept);
  document.body.style.padding = "0 20px";
  event.style.marginTop = "0";
  kept[2].lastChild.remove();
}
</script>
"""


def main():
    page = Path(sys.argv[1]).read_text()
    with tempfile.TemporaryDirectory() as directory:
        cut = Path(directory) / "rolling.html"
        cut.write_text(page.replace("</html>", SCRIPT + "</html>"))
        image = Path(__file__).with_name("rolling.png")
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={directory}/profile"]
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        command = ["chromium", *flags, size, f"--screenshot={image}", cut.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    main()
