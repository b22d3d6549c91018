//go:build e2enode

package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// The agent and the simulated Jenkins exchange JSON over one connection. The agent says hello, and then gets
// the scripts to run.
type (
	// hello has the agent's name and what it found.
	hello struct {
		Name, Secret string
		// Host is the process: a build goes on only on the process that began it.
		Host string
		User int
		// Docker is the daemon's version, as it answered before this connection, or the error; empty without
		// Docker.
		Docker string
	}
	// order is a shell script to run in the agent's work directory.
	order struct {
		ID     int
		Script string
	}
	// report is the result of an order.
	report struct {
		ID     int
		Output string
		Code   int
	}
)

// agentName is the name of this binary in an agent's image, as in the inbound-agent image.
const agentName = "jenkins-agent"

// agentPath is the path of the simulated Jenkins for agents.
const agentPath = "/agent"

// agent is the process in an agent's pod. It accepts the command line of the inbound-agent image, and ends at
// once at SIGTERM, as that image does.
func agent() int {
	dies := make(chan os.Signal, 1)
	signal.Notify(dies, syscall.SIGTERM)
	go func() {
		<-dies
		os.Exit(128 + int(syscall.SIGTERM))
	}()
	flags := flag.NewFlagSet(agentName, flag.ExitOnError)
	jenkins := flags.String("url", "", "")
	name := flags.String("name", "", "")
	secret := flags.String("secret", "", "")
	workDir := flags.String("workDir", "", "")
	flags.Bool("webSocket", false, "")
	flags.Duration("noReconnectAfter", 0, "")
	_ = flags.Parse(os.Args[1:])
	file, ok := strings.CutPrefix(*secret, "@")
	if !ok {
		fmt.Fprintln(os.Stderr, "the secret is not in a file")
		return 1
	}
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.Chdir(*workDir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	host, _ := os.Hostname()
	h := hello{Name: *name, Secret: string(b), Host: fmt.Sprintf("%s at %d", host, time.Now().UnixNano()), User: os.Getuid()}
	if os.Getenv("DOCKER_HOST") != "" {
		// Only once, as a build would that begins at once.
		out, err := exec.Command("docker", "info", "--format", "{{.ServerVersion}}").CombinedOutput()
		h.Docker = strings.TrimSpace(string(out))
		if err != nil {
			h.Docker = err.Error() + ": " + h.Docker
		}
	}
	for {
		fmt.Fprintln(os.Stderr, "the connection ended:", serve(*jenkins, h))
		time.Sleep(300 * time.Millisecond)
	}
}

// serve connects and runs the orders until the connection ends.
func serve(jenkins string, h hello) error {
	u, err := url.Parse(jenkins)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: agent\r\n\r\n", agentPath, u.Host); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(resp.Status)
	}
	send, receive := json.NewEncoder(conn), json.NewDecoder(r)
	if err := send.Encode(h); err != nil {
		return err
	}
	for {
		var o order
		if err := receive.Decode(&o); err != nil {
			return err
		}
		cmd := exec.CommandContext(context.Background(), "sh", "-euc", o.Script)
		out, err := cmd.CombinedOutput()
		re := report{ID: o.ID, Output: string(out)}
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			re.Code = exit.ExitCode()
		case err != nil:
			re.Code, re.Output = -1, err.Error()
		}
		if err := send.Encode(re); err != nil {
			return err
		}
	}
}
