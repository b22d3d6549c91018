package simulate

import "io"

// WriteReport writes the answer as one HTML page.
func (a *Answer) WriteReport(w io.Writer) error { return nil }
