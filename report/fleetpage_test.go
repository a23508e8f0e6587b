package report_test

import (
	"bytes"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// frame shows a page as wide as a screen, which a window cannot be narrow enough for, and
// writes down how wide the page is and what is to be read on it, for dump-dom to show.
const frame = `<!doctype html><body><iframe id="f" style="border: 0; width: %dpx; height: 900px" srcdoc="%s"></iframe><pre id="shown"></pre>
<script>onload = () => {
	document.body.dataset.widths = f.contentWindow.innerWidth + " of " + f.contentDocument.documentElement.scrollWidth
	shown.textContent = f.contentDocument.body.innerText.replace(/\s+/g, " ")
}</script></body>`

// A real browser shows the page on a phone and on a desktop: all of it fits, and nothing in
// it is an error.
func TestFleetPageInChromium(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skipf("the page is not opened: %v (tools/install-deps.sh installs it)", err)
	}
	page, err := os.ReadFile("testdata/fleet.html.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{360, 1280} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "fleet.html")
			if err := os.WriteFile(name, fmt.Appendf(nil, frame, width, html.EscapeString(string(page))), 0o600); err != nil {
				t.Fatal(err)
			}
			browser := exec.CommandContext(t.Context(), chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
				"--disable-background-networking", "--disable-component-update", "--no-first-run", "--hide-scrollbars",
				"--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND", "--user-data-dir="+t.TempDir(),
				"--window-size=1400,1000", "--dump-dom", "file://"+name)
			browser.WaitDelay = 10 * time.Second
			var said bytes.Buffer
			browser.Stderr = &said
			dom, err := browser.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, &said)
			}
			if want := fmt.Sprintf(`data-widths="%d of %d"`, width, width); !strings.Contains(string(dom), want) {
				t.Errorf("the page is not as wide as the window (%s):\n%s", want, dom)
			}
			for line := range strings.Lines(said.String()) {
				if strings.Contains(line, ":CONSOLE") {
					t.Errorf("the browser's console says %s", line)
				}
			}
			_, shown, _ := strings.Cut(string(dom), `<pre id="shown">`)
			for _, what := range []string{"cp1.a-rather-long-name.example.org ok", "2026-12-26 12:00 (300d)", "w4 none", "Turn: cp2"} {
				if !strings.Contains(shown, what) {
					t.Errorf("%q is not shown", what)
				}
			}
		})
	}
}
