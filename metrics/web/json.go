package web

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"bellboard/scaler/plain"
)

// JSON returns v as the programs that read it get it: as encoding/json would write it, but each duration with
// its unit ("1m30s"), and nothing that controls a terminal.
func JSON(v any) ([]byte, error) {
	b, err := json.Marshal(v, jsonv1.DefaultOptionsV1(), jsontext.WithIndent("  "),
		json.WithMarshalers(json.MarshalFunc(func(d time.Duration) ([]byte, error) { return jsontext.AppendQuote(nil, d.String()) })))
	if err != nil {
		return nil, err
	}
	return append(plain.JSON(b), '\n'), nil
}

// ReadJSON reads what JSON has written into v.
func ReadJSON(b []byte, v any) error {
	return json.Unmarshal(b, v, jsonv1.DefaultOptionsV1(), json.WithUnmarshalers(json.UnmarshalFunc(func(b []byte, d *time.Duration) (err error) {
		text, err := jsontext.AppendUnquote(nil, b)
		if err == nil {
			*d, err = time.ParseDuration(string(text))
		}
		return err
	})))
}
