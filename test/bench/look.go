//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/test/story"
)

const (
	// measurer is this program in the node.
	measurer = "/root/bench"
	// looked is how often each command is run.
	looked = 11
	// manyFiles is a host whose proxy serves a lot of names.
	manyFiles = 10000
	manyDir   = "/srv/bench"
)

// look is what it cost to look once, by one command.
type look struct {
	Command string
	measurement
}

func (b *bench) look(ctx context.Context, times int, command ...string) (look, error) {
	result, err := b.node.Run(ctx, append([]string{measurer, "measure", strconv.Itoa(times)}, command...)...)
	if err != nil {
		return look{}, err
	}
	l := look{Command: strings.Join(command, " ")}
	if err := json.Unmarshal([]byte(result.Stdout), &l.measurement); err != nil {
		return look{}, fmt.Errorf("measurement of %s: %w", l.Command, err)
	}
	b.out.Printf("%s: %s, %.0f MiB", l.Command, l.Median, l.MiB())
	return l, nil
}

// looks compares what it costs to look at the certificates once.
func (b *bench) looks(ctx context.Context) ([]look, error) {
	var all []look
	for _, command := range [][]string{
		{"kubecertd", "status", "--disk"},
		{"kubecertd", "status"},
		{"kubeadm", "certs", "check-expiration", "-o", "json"},
	} {
		l, err := b.look(ctx, looked, command...)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// manyFiles looks at ten thousand certificate files that the configuration names
// (watch.files), and at a tenth of them, to see whether the cost is linear.
func (b *bench) manyFiles(ctx context.Context) ([]look, error) {
	if !strings.Contains(b.shipped, "\nwatch:") {
		b.out.Printf("this kubecertd knows no watch.files")
		return nil, nil
	}
	var all []look
	for _, count := range []int{manyFiles / 10, manyFiles} {
		dir := fmt.Sprintf("%s/%d", manyDir, count)
		if err := writeCertificates(filepath.Join(b.node.Root(), dir), count); err != nil {
			return nil, err
		}
		if err := b.node.WriteFile(story.ConfigFile, []byte(story.OwnClock+"watch: {files: ["+dir+"]}\n"), 0o644); err != nil {
			return nil, err
		}
		l, err := b.look(ctx, b.repeat, "kubecertd", "status", "--disk", "-o", "json")
		if err != nil {
			return nil, err
		}
		l.Command = fmt.Sprintf("%d certificate files: %s", count, l.Command)
		all = append(all, l)
	}
	_, err := b.node.Run(ctx, "rm", "-r", manyDir)
	return all, err
}

// writeCertificates writes self-signed certificates, each in a file of its own.
func writeCertificates(dir string, count int) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	now := time.Now()
	for i := range count {
		name := fmt.Sprintf("%05d.example.com", i)
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name},
			DNSNames: []string{name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * 24 * time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			return err
		}
		content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		if err := os.WriteFile(filepath.Join(dir, name+".crt"), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
